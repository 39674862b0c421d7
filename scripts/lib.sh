# shellcheck shell=bash
# What deploy.sh and tests/run.sh share. Sourced in the repository's top folder. Works with bash 3.2, which macOS has.

# fail MESSAGE: one line with cause and remedy, then exit.
fail() {
  printf 'error: %s\n' "$1" >&2
  exit 1
}

# find_python: set PYTHON to a Python 3.12.
find_python() {
  local candidate found=none
  for candidate in python3.12 python3 python; do
    if "$candidate" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 12))' 2>/dev/null; then
      PYTHON=$candidate
      return
    fi
  done
  found=$(python3 --version 2>/dev/null) || found='no Python'
  fail "Python 3.12 is needed, found ${found}. Get it from https://www.python.org/downloads/ or your package manager."
}

# find_terraform: check Terraform's version, and where it gets the AWS provider from.
find_terraform() {
  local version
  # A configuration file that is named but missing makes Terraform warn at every command.
  if [ -n "${TF_CLI_CONFIG_FILE:-}" ] && [ ! -e "$TF_CLI_CONFIG_FILE" ]; then unset TF_CLI_CONFIG_FILE; fi
  command -v terraform >/dev/null ||
    fail 'Terraform is missing. Get 1.11 or newer from https://developer.hashicorp.com/terraform/install'
  version=$(terraform version | sed -n 's/^Terraform v\([0-9.]*\).*/\1/p')
  case $version in
    0.* | 1.[0-9].* | 1.10.* | '')
      fail "Terraform 1.11 is needed, found ${version:-none}. Get it from https://developer.hashicorp.com/terraform/install"
      ;;
  esac
  export TF_IN_AUTOMATION=1 CHECKPOINT_DISABLE=1
  use_provider_mirror
}

# use_provider_mirror: where a folder on this machine holds the locked AWS provider, take it from there. That is for
# machines that cannot reach the Terraform registry; TF_PROVIDER_MIRROR names such a folder.
use_provider_mirror() {
  local version mirror
  version=$(sed -n 's/^ *version *= *"\(.*\)"/\1/p' .terraform.lock.hcl)
  for mirror in "${TF_PROVIDER_MIRROR:-}" /usr/local/share/*/ /usr/local/share/*/*/ /usr/share/*/ /usr/share/*/*/ \
    /opt/*/ /opt/*/*/ ~/.terraform.d/*/; do
    if [ -n "$mirror" ] && compgen -G "${mirror%/}/registry.terraform.io/hashicorp/aws/*${version}*" >/dev/null; then
      export TF_CLI_ARGS_init="-plugin-dir=${mirror%/} ${TF_CLI_ARGS_init:-}"
      return
    fi
  done
  # From the registry: download the provider (hundreds of megabytes) once, not once per working folder.
  export TF_PLUGIN_CACHE_DIR="${TF_PLUGIN_CACHE_DIR:-$PWD/.local/terraform-plugins}"
  mkdir -p "$TF_PLUGIN_CACHE_DIR"
}

# python_env FOLDER [REQUIREMENTS]: make a virtual environment, with the pinned packages if any are named. The file names all
# of them, so pip has nothing to resolve (--no-deps): some pips trip over a pinned package that another one wants with an
# extra, once a newer version of it is out. A new environment is checked to be complete; an old one holds leftovers.
python_env() {
  local folder=$1 requirements=${2:-} installed=$1/installed.txt missing
  if [ ! -e "$installed" ]; then
    "$PYTHON" -m venv --clear "$folder" >/dev/null ||
      fail 'Python 3.12 cannot make virtual environments. Install its venv package (Debian: python3.12-venv).'
    : >"$installed"
  fi
  if [ -n "$requirements" ] && ! cmp -s "$requirements" "$installed"; then
    printf 'Install %s into %s\n' "$requirements" "$folder"
    "$folder/bin/python" -m pip install -qq --disable-pip-version-check --no-input --no-deps --require-hashes \
      -r "$requirements" ||
      fail "pip could not install $requirements. Check the connection to the package index, then run this again."
    [ -s "$installed" ] || missing=$("$folder/bin/python" -m pip check --disable-pip-version-check) ||
      fail "$requirements is not complete: ${missing//$'\n'/; } Compile it again, as CONTRIBUTING.md says."
    cp "$requirements" "$installed"
  fi
}
