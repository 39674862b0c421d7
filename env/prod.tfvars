environments = {
  prod = {
    ingestion               = "queue"
    noncurrent_version_days = 90
    # alarm_emails = ["oncall@example.org"]
  }
}
