"""The commands of ./deploy.sh: __main__ reads the command line, one function per verb does the work."""
