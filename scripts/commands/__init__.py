"""The commands of ./deploy.sh: __main__ reads the command line, one function a verb does the work."""
