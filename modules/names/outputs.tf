output "prefixes" {
  description = "First part of the names of each environment's resources, by environment."
  value       = local.prefixes
}
