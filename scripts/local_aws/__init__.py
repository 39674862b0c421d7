"""The local AWS that ./deploy.sh local and the tests use."""
