module "alarms" {
  source = "../topic"

  arn         = var.topic_arn
  account_id  = var.account_id
  kms_key_arn = var.kms_key_arn
  emails      = var.alarm_emails
  publisher   = { name = "Alarms", service = "cloudwatch.amazonaws.com", arns = var.alarm_arns }
  tags        = var.tags
}

moved {
  from = aws_sns_topic.alarms
  to   = module.alarms.aws_sns_topic.this
}

moved {
  from = aws_sns_topic_policy.alarms
  to   = module.alarms.aws_sns_topic_policy.this
}

moved {
  from = aws_sns_topic_subscription.email
  to   = module.alarms.aws_sns_topic_subscription.email
}
