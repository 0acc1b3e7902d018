CREATE TABLE "blob" (
	"id" bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY (sequence name "blob_id_seq" INCREMENT BY 1 MINVALUE 1 MAXVALUE 9223372036854775807 START WITH 1 CACHE 1),
	"organization" varchar(32) NOT NULL,
	"content_digest" text NOT NULL,
	"size" bigint NOT NULL,
	"address" text NOT NULL,
	"stored_size" bigint NOT NULL,
	"middleware" varchar(32) NOT NULL,
	"created_at" timestamp(6) with time zone DEFAULT now() NOT NULL
);
--> statement-breakpoint
CREATE TABLE "boefje_meta" (
	"id" uuid PRIMARY KEY NOT NULL,
	"boefje_id" varchar(64) NOT NULL,
	"boefje_version" varchar(16),
	"organization" varchar(32) NOT NULL,
	"arguments" json NOT NULL,
	"started_at" timestamp(6) with time zone,
	"ended_at" timestamp(6) with time zone,
	"input_ooi" varchar(1024),
	"environment" json,
	"runnable_hash" varchar(64)
);
--> statement-breakpoint
CREATE TABLE "normalizer_meta" (
	"id" uuid PRIMARY KEY NOT NULL,
	"normalizer_id" varchar(64) NOT NULL,
	"normalizer_version" varchar(16),
	"started_at" timestamp(6) with time zone,
	"ended_at" timestamp(6) with time zone,
	"raw_file_id" uuid NOT NULL,
	"organization" varchar(32) NOT NULL
);
--> statement-breakpoint
CREATE TABLE "outbox" (
	"id" bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY (sequence name "outbox_id_seq" INCREMENT BY 1 MINVALUE 1 MAXVALUE 9223372036854775807 START WITH 1 CACHE 1),
	"message_id" uuid NOT NULL,
	"event_id" varchar(64) NOT NULL,
	"body" text NOT NULL,
	"headers" json NOT NULL,
	"created_at" timestamp(6) with time zone DEFAULT now() NOT NULL
);
--> statement-breakpoint
CREATE TABLE "raw_file" (
	"id" uuid PRIMARY KEY NOT NULL,
	"secure_hash" varchar(256),
	"hash_retrieval_link" text,
	"boefje_meta_id" uuid NOT NULL,
	"mime_types" varchar(64)[],
	"signing_provider_id" integer,
	"seq" bigint GENERATED ALWAYS AS IDENTITY (sequence name "raw_file_seq_seq" INCREMENT BY 1 MINVALUE 1 MAXVALUE 9223372036854775807 START WITH 1 CACHE 1),
	"organization" varchar(32) NOT NULL,
	"mime_types_digest" "bytea" NOT NULL,
	"blob_id" bigint NOT NULL,
	"created_at" timestamp(6) with time zone DEFAULT now() NOT NULL
);
--> statement-breakpoint
CREATE TABLE "signing_provider" (
	"id" serial PRIMARY KEY NOT NULL,
	"url" varchar(256) NOT NULL,
	CONSTRAINT "signing_provider_url_unique" UNIQUE("url")
);
--> statement-breakpoint
ALTER TABLE "normalizer_meta" ADD CONSTRAINT "normalizer_meta_raw_file_id_raw_file_id_fk" FOREIGN KEY ("raw_file_id") REFERENCES "public"."raw_file"("id") ON DELETE cascade ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "raw_file" ADD CONSTRAINT "raw_file_boefje_meta_id_boefje_meta_id_fk" FOREIGN KEY ("boefje_meta_id") REFERENCES "public"."boefje_meta"("id") ON DELETE cascade ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "raw_file" ADD CONSTRAINT "raw_file_signing_provider_id_signing_provider_id_fk" FOREIGN KEY ("signing_provider_id") REFERENCES "public"."signing_provider"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "raw_file" ADD CONSTRAINT "raw_file_blob_id_blob_id_fk" FOREIGN KEY ("blob_id") REFERENCES "public"."blob"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
CREATE UNIQUE INDEX "ux_blob_organization_content_digest" ON "blob" USING btree ("organization","content_digest");--> statement-breakpoint
CREATE INDEX "ix_boefje_meta_organization_boefje_id" ON "boefje_meta" USING btree ("organization","boefje_id");--> statement-breakpoint
CREATE INDEX "ix_boefje_meta_organization_started_at" ON "boefje_meta" USING btree ("organization","started_at","id");--> statement-breakpoint
CREATE INDEX "ix_boefje_meta_input_ooi" ON "boefje_meta" USING hash ("input_ooi");--> statement-breakpoint
CREATE INDEX "ix_normalizer_meta_raw_file_id" ON "normalizer_meta" USING btree ("raw_file_id");--> statement-breakpoint
CREATE INDEX "ix_normalizer_meta_organization_started_at" ON "normalizer_meta" USING btree ("organization","started_at","id");--> statement-breakpoint
CREATE INDEX "ix_normalizer_meta_organization_normalizer_id" ON "normalizer_meta" USING btree ("organization","normalizer_id","started_at");--> statement-breakpoint
CREATE UNIQUE INDEX "ux_raw_file_boefje_meta_id_mime_types" ON "raw_file" USING btree ("boefje_meta_id","mime_types_digest");--> statement-breakpoint
CREATE INDEX "ix_raw_file_signing_provider_id" ON "raw_file" USING btree ("signing_provider_id");--> statement-breakpoint
CREATE INDEX "ix_raw_file_blob_id" ON "raw_file" USING btree ("blob_id");--> statement-breakpoint
CREATE INDEX "ix_raw_file_organization_seq" ON "raw_file" USING btree ("organization","seq");--> statement-breakpoint
CREATE UNIQUE INDEX "ux_raw_file_seq" ON "raw_file" USING btree ("seq");--> statement-breakpoint
CREATE INDEX "ix_raw_file_mime_types" ON "raw_file" USING gin ("mime_types");