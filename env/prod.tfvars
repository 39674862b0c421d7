environments = {
  prod = {
    noncurrent_version_days = 90
  }
}
