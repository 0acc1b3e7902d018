CREATE TABLE "evidence_record" (
	"id" uuid PRIMARY KEY NOT NULL,
	"timestamp_token_id" bigint NOT NULL,
	"reduced_hash_tree" "bytea" NOT NULL
);
--> statement-breakpoint
CREATE TABLE "pending_hash" (
	"id" bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY (sequence name "pending_hash_id_seq" INCREMENT BY 1 MINVALUE 1 MAXVALUE 9223372036854775807 START WITH 1 CACHE 1),
	"raw_file_id" uuid NOT NULL,
	"claim_id" uuid,
	"claimed_until" timestamp(6) with time zone,
	"created_at" timestamp(6) with time zone DEFAULT now() NOT NULL,
	CONSTRAINT "pending_hash_raw_file_id_unique" UNIQUE("raw_file_id")
);
--> statement-breakpoint
CREATE TABLE "timestamp_token" (
	"id" bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY (sequence name "timestamp_token_id_seq" INCREMENT BY 1 MINVALUE 1 MAXVALUE 9223372036854775807 START WITH 1 CACHE 1),
	"token" "bytea" NOT NULL,
	"created_at" timestamp(6) with time zone DEFAULT now() NOT NULL
);
--> statement-breakpoint
ALTER TABLE "evidence_record" ADD CONSTRAINT "evidence_record_timestamp_token_id_timestamp_token_id_fk" FOREIGN KEY ("timestamp_token_id") REFERENCES "public"."timestamp_token"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "pending_hash" ADD CONSTRAINT "pending_hash_raw_file_id_raw_file_id_fk" FOREIGN KEY ("raw_file_id") REFERENCES "public"."raw_file"("id") ON DELETE cascade ON UPDATE no action;--> statement-breakpoint
CREATE INDEX "ix_evidence_record_timestamp_token_id" ON "evidence_record" USING btree ("timestamp_token_id");--> statement-breakpoint
CREATE INDEX "ix_pending_hash_claim_id" ON "pending_hash" USING btree ("claim_id");