# What ./deploy.sh local deploys to this machine, whatever the other files say. No real account has this number.
environments = {
  dev = { account_id = "000000000000" }
}
# The local AWS supports neither; when told to delete request metrics, it deletes the bucket.
saved_queries   = false
request_metrics = false
