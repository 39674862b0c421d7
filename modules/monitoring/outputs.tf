output "topic_arn" {
  description = "Topic that alarms are sent to."
  value       = module.alarms.arn
}

output "topic_policy" {
  description = "Policy of the topic as attached, JSON."
  value       = module.alarms.policy
}

output "dashboard_name" {
  description = "Name of the dashboard."
  value       = aws_cloudwatch_dashboard.this.dashboard_name
}

output "planned" {
  description = "The topic, what the alarms watch, and the commands that they name, as planned."
  value = {
    topic = module.alarms.planned
    alarms = { for name, alarm in aws_cloudwatch_metric_alarm.this : name => {
      metric  = "${alarm.namespace} ${alarm.metric_name} ${alarm.statistic}"
      of      = alarm.dimensions
      goes_on = "${alarm.comparison_operator} ${alarm.threshold}, ${alarm.evaluation_periods} x ${alarm.period} s, missing: ${alarm.treat_missing_data}"
    } }
    commands = distinct(flatten([for alarm in concat(values(aws_cloudwatch_metric_alarm.this), aws_cloudwatch_metric_alarm.nothing_processed) :
      regexall("[.]/deploy[.]sh [^\\n]+", alarm.alarm_description)
    ]))
  }
}
