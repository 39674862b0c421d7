environments = {
  dev = {}
}
