/*
 * Evidence records (RFC 4998) by a second implementation, Bouncy Castle:
 *
 *   java -cp bcprov.jar:bcpkix.jar:bcutil.jar EvidenceRecords.java FOLDER ROOT_PEM TSA_URL
 *
 * Reads FOLDER/cases, one command a line, and prints a line for each:
 *
 *   verify FILE TEXT            "ok" or "refused REASON", for the record and the text's hash
 *   generate NAME TEXT TEXT ..  writes the records of one hash tree and timestamp over the texts to
 *                               FOLDER/NAME-0, FOLDER/NAME-1 ..; "ok"
 */

import java.io.IOException;
import java.math.BigInteger;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.SecureRandom;
import java.security.cert.CertificateFactory;
import java.security.cert.X509Certificate;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Date;
import java.util.List;
import org.bouncycastle.asn1.nist.NISTObjectIdentifiers;
import org.bouncycastle.asn1.x509.AlgorithmIdentifier;
import org.bouncycastle.cert.X509CertificateHolder;
import org.bouncycastle.cms.jcajce.JcaSimpleSignerInfoVerifierBuilder;
import org.bouncycastle.operator.DigestCalculatorProvider;
import org.bouncycastle.operator.jcajce.JcaContentVerifierProviderBuilder;
import org.bouncycastle.operator.jcajce.JcaDigestCalculatorProviderBuilder;
import org.bouncycastle.tsp.TimeStampRequest;
import org.bouncycastle.tsp.TimeStampRequestGenerator;
import org.bouncycastle.tsp.TimeStampResponse;
import org.bouncycastle.tsp.ers.ERSArchiveTimeStampGenerator;
import org.bouncycastle.tsp.ers.ERSByteData;
import org.bouncycastle.tsp.ers.ERSEvidenceRecord;
import org.bouncycastle.tsp.ers.ERSEvidenceRecordGenerator;

public final class EvidenceRecords {
    private final Path folder;
    private final X509Certificate root;
    private final URI authority;
    private final DigestCalculatorProvider calculators;

    private EvidenceRecords(Path folder, X509Certificate root, URI authority) throws Exception {
        this.folder = folder;
        this.root = root;
        this.authority = authority;
        this.calculators = new JcaDigestCalculatorProviderBuilder().build();
    }

    public static void main(String[] args) throws Exception {
        Path folder = Path.of(args[0]);
        X509Certificate root;
        try (var in = Files.newInputStream(Path.of(args[1]))) {
            root = (X509Certificate) CertificateFactory.getInstance("X.509").generateCertificate(in);
        }
        var records = new EvidenceRecords(folder, root, URI.create(args[2]));
        for (String line : Files.readAllLines(folder.resolve("cases"))) {
            String[] words = line.split(" ");
            switch (words[0]) {
                case "verify" -> System.out.println(records.verify(words[1], words[2]));
                case "generate" -> {
                    records.generate(words[1], Arrays.asList(words).subList(2, words.length));
                    System.out.println("ok");
                }
                default -> throw new IllegalArgumentException(words[0]);
            }
        }
    }

    private static ERSByteData data(String text) {
        return new ERSByteData(text.getBytes(StandardCharsets.US_ASCII));
    }

    /** The hash tree, the timestamp's signature, and who has issued the signer's certificate. */
    private String verify(String file, String text) throws IOException {
        byte[] der = Files.readAllBytes(folder.resolve(file));
        try {
            var record = new ERSEvidenceRecord(der, calculators);
            record.validatePresent(data(text), new Date());
            X509CertificateHolder signer = record.getSigningCertificate();
            if (!signer.isSignatureValid(new JcaContentVerifierProviderBuilder().build(root))) {
                return "refused the root has not issued the signer's certificate";
            }
            record.validate(new JcaSimpleSignerInfoVerifierBuilder().build(signer));
            return "ok";
        } catch (Exception error) {
            return "refused " + String.valueOf(error.getMessage()).replace('\n', ' ');
        }
    }

    private void generate(String name, List<String> texts) throws Exception {
        var sha512 = calculators.get(new AlgorithmIdentifier(NISTObjectIdentifiers.id_sha512));
        var timestamps = new ERSArchiveTimeStampGenerator(sha512);
        for (String text : texts) {
            timestamps.addData(data(text));
        }
        var requests = new TimeStampRequestGenerator();
        requests.setCertReq(true);
        var nonce = new BigInteger(64, new SecureRandom());
        TimeStampRequest request = timestamps.generateTimeStampRequest(requests, nonce);
        var response = new TimeStampResponse(post(request.getEncoded()));
        response.validate(request);
        List<ERSEvidenceRecord> records = new ArrayList<>(
            new ERSEvidenceRecordGenerator(calculators)
                .generate(timestamps.generateArchiveTimeStamps(response)));
        for (int at = 0; at < texts.size(); at++) {
            for (ERSEvidenceRecord record : records) {
                if (record.isContaining(data(texts.get(at)), new Date())) {
                    Files.write(folder.resolve(name + "-" + at), record.getEncoded());
                }
            }
        }
    }

    private byte[] post(byte[] query) throws IOException, InterruptedException {
        HttpRequest request = HttpRequest.newBuilder(authority)
            .header("content-type", "application/timestamp-query")
            .POST(HttpRequest.BodyPublishers.ofByteArray(query))
            .build();
        return HttpClient.newHttpClient()
            .send(request, HttpResponse.BodyHandlers.ofByteArray())
            .body();
    }
}
