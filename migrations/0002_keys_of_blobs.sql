ALTER TABLE "blob" ADD COLUMN "key_id" varchar(32);--> statement-breakpoint
ALTER TABLE "blob" ADD COLUMN "sealed_key" "bytea";--> statement-breakpoint
CREATE INDEX "ix_blob_key_id" ON "blob" USING btree ("key_id","id");