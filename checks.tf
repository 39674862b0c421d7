# What is no mistake but should not pass unseen: each of these warns in every plan and stops nothing.

check "alarms_reach_somebody" {
  assert {
    condition     = length(local.unwatched) == 0
    error_message = "Nobody is told of alarms in ${join(", ", local.unwatched)}, which keeps its data. Set alarm_emails, or subscribe to the topic alarm_topic_arn and ignore this."
  }
}

check "log_outlives_failed_events" {
  assert {
    condition     = alltrue([for e in values(var.environments) : e.log_retention_days >= 14])
    error_message = "The log is gone before the failed events are, which stay in the dead-letter queue for 14 days, and with it the reason of a rejection. Set log_retention_days to 14 or more."
  }
}

locals {
  unwatched = [for name, e in var.environments : name if !coalesce(e.force_destroy, name == "dev") && length(e.alarm_emails) == 0]
}
