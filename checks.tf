# Valid settings that deserve a warning: each of these warns in every plan and stops nothing.

check "alarms_reach_somebody" {
  assert {
    condition     = length(local.unwatched) == 0
    error_message = "Alarms notify nobody in ${join(", ", local.unwatched)}, where data is kept. Set alarm_emails, or subscribe to the topic alarm_topic_arn and ignore this."
  }
}

check "log_outlives_failed_events" {
  assert {
    condition     = length(local.short_log) == 0
    error_message = "In ${join(", ", local.short_log)} the log expires before the failed events, which stay in the dead-letter queue for 14 days. Set log_retention_days to 14 or more, so that the log still says why they failed."
  }
}

check "access_log_outlives_old_versions" {
  assert {
    condition     = length(local.short_access_log) == 0
    error_message = "In ${join(", ", local.short_access_log)} the access log expires before the old versions. Set access_log_days to noncurrent_version_days or more, so that it still shows who overwrote or deleted an object that is recovered."
  }
}

locals {
  unwatched        = [for name, pipeline in module.pipeline : name if !pipeline.force_destroy && length(var.environments[name].alarm_emails) == 0]
  short_log        = [for name, e in var.environments : name if e.log_retention_days < 14]
  short_access_log = [for name, e in var.environments : name if e.access_log_days < e.noncurrent_version_days]
}
