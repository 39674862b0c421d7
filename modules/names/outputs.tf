output "prefixes" {
  description = "First part of the resource names of each environment, by the environment's name."
  value       = local.prefixes
}
