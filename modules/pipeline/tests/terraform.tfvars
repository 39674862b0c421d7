# The variables of every run in this folder, unless it sets its own.
name_prefix     = "eyes"
environment     = "dev"
account_id      = "111122223333"
region          = "us-east-1"
packages_dir    = "../../build"
saved_queries   = true
request_metrics = true
settings = {
  architecture    = "arm64", memory_mb = 512, timeout_seconds = 60, reserved_concurrency = null, log_retention_days = 14
  ingestion       = "direct", maximum_concurrency = 7, batch_size = 3, batching_window_seconds = 5
  access_log_days = 90, noncurrent_version_days = 30, archive_after_days = 60, object_lock_days = null, stale_results = "keep", force_destroy = null
  private_network = null, permissions_boundary = null, alarm_emails = ["oncall@example.org"], rejection_emails = ["sender@example.org"]
}
