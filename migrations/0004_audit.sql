ALTER TABLE "blob" ADD COLUMN "verified_at" timestamp(6) with time zone;--> statement-breakpoint
ALTER TABLE "blob" ADD COLUMN "verify_claimed_until" timestamp(6) with time zone;--> statement-breakpoint
CREATE INDEX "ix_blob_verified" ON "blob" USING btree (coalesce("verified_at", "created_at"),"id");--> statement-breakpoint
CREATE INDEX "ix_blob_address" ON "blob" USING hash ("address");