#!/usr/bin/env bash
# Every check of this project. ./tests/run.sh runs all of them, ./tests/run.sh PART... the named parts.
# shellcheck disable=SC2329 # the parts are invoked by name
set -euo pipefail
CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."
. scripts/lib.sh

parts='static terraform unit scan e2e'
other_parts='controls mutants chaos scale bench'

usage() {
  cat <<'EOF'
usage: ./tests/run.sh [PART...]      all parts without a name
  static      formats, linters, types, workflows
  terraform   terraform test: names, policies as rendered, validation
  unit        the handler and the commands, on moto
  scan        checkov on the Terraform
  e2e         the whole pipeline on the local AWS
Only when named:
  controls    takes each security control away in a copy and expects the tests to turn red
  mutants     changes the handler bit by bit in a copy and expects the unit tests to turn red; 30 to 45 minutes
  chaos       12,000 uploads while everything goes wrong: nothing is lost; up to an hour
  scale       audit, redrive and reprocess of 100,000 objects: flat memory, interrupted and taken up again; hours
  bench       speed and memory of the handler beside other ways to do its work, and beside the capacity model; 20 to 30 minutes
EOF
}

static() {
  local scripts=(deploy.sh tests/run.sh scripts/lib.sh .ci/run)
  terraform fmt -check -diff -recursive
  terraform validate -no-color
  bootstrap_terraform validate -no-color
  ruff format --check
  ruff check
  mypy lambda_function.py schemas/generate.py scripts tests/unit tests/e2e tests/controls tests/mutants tests/bench
  shellcheck --external-sources "${scripts[@]}"
  shfmt --diff --indent 2 --case-indent "${scripts[@]}"
  zizmor --offline --persona auditor --strict-collection --no-ignores --quiet .github
  check_jsonschema github-workflows .github/workflows/*.yml
  check_jsonschema github-actions .github/actions/*/action.yml
  check_jsonschema dependabot .github/dependabot.yml
}

# check_jsonschema SCHEMA FILE...: hold files to a schema that the tool brings along.
check_jsonschema() { check-jsonschema --quiet --builtin-schema "vendor.$1" "${@:2}"; }

# terraform ARGUMENTS...: with the provider from where it can be had.
terraform() { PYTHONPATH=scripts "$PYTHON" -m commands.terraform "$@"; }

terraform_tests() {
  terraform test -no-color -test-directory=tests/terraform
  bootstrap_terraform test -no-color
}

bootstrap_terraform() { TF_DATA_DIR=$PWD/.local/tests-bootstrap terraform -chdir=bootstrap "$@"; }

unit() { pytest tests/unit --numprocesses 4 --cov --cov-report=term-missing:skip-covered --cov-fail-under=98; }

scan() {
  python_env .venv/scanners tests/scan/requirements.txt
  BC_SKIP_MAPPING=TRUE .venv/scanners/bin/checkov --directory . --framework terraform --quiet --compact \
    --skip-path .local --skip-path .venv --skip-path tests
}

e2e() {
  python_env .venv/scanners tests/scan/requirements.txt
  python_env .venv/local-aws scripts/local_aws/requirements.txt
  # One process for each of the accounts that take longest, so that one works while another waits.
  pytest tests/e2e --numprocesses 4 --verbose
}

controls() { PYTHONPATH=scripts python tests/controls/break_controls.py; }

mutants() {
  python_env .venv/mutants tests/mutants/requirements.txt
  .venv/mutants/bin/python tests/mutants/run.py
}

chaos() {
  python_env .venv/local-aws scripts/local_aws/requirements.txt
  CHAOS=5000 pytest tests/e2e/test_operate_chaos.py -s
}

scale() {
  python_env .venv/local-aws scripts/local_aws/requirements.txt
  AWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=test SCALE=100000 pytest tests/unit/test_operate_scale.py -s
}

bench() {
  python_env .venv/local-aws scripts/local_aws/requirements.txt
  python_env .venv/bench tests/bench/requirements.txt
  .venv/bench/bin/python tests/bench/run.py
  PYTHONPATH=.:scripts .venv/bench/bin/python tests/bench/model.py
}

prepare() {
  # Tests must not find a real account, nor write into the summary of the run on GitHub, whatever the caller's settings.
  for name in ${!AWS_@} GITHUB_STEP_SUMMARY; do unset "$name"; done
  export AWS_CONFIG_FILE=/dev/null AWS_SHARED_CREDENTIALS_FILE=/dev/null AWS_EC2_METADATA_DISABLED=true
  find_python
  terraform version >/dev/null
  python_env .venv tests/requirements.txt
  python_env .venv/commands scripts/commands/requirements.txt
  PATH=$PWD/.venv/bin:$PATH
  ./deploy.sh build >/dev/null
  TF_DATA_DIR=$PWD/.local/tests-terraform terraform init -backend=false -input=false -lockfile=readonly \
    -test-directory=tests/terraform -no-color >/dev/null
  bootstrap_terraform init -backend=false -input=false -lockfile=readonly -no-color >/dev/null
}

main() {
  local part failed='' began passed=0
  for part in "$@"; do
    case " $parts $other_parts help " in *" $part "*) ;; *) fail "unknown part: $part. There is: $parts $other_parts" ;; esac
  done
  if [ "${1:-}" = help ]; then
    usage
    return
  fi
  prepare
  # shellcheck disable=SC2086 # the default is a list of words
  [ $# -gt 0 ] || set -- $parts
  for part in "$@"; do
    began=$SECONDS
    printf '\n== %s\n' "$part"
    # A shell of its own, so that set -e holds inside: it does not in the condition of an if.
    set +e
    (
      set -e
      case $part in
        static | terraform) export TF_DATA_DIR=$PWD/.local/tests-terraform ;;
      esac
      case $part in terraform) terraform_tests ;; *) "$part" ;; esac
    )
    status=$?
    set -e
    if [ "$status" = 0 ]; then passed=$((passed + 1)); else failed="$failed $part"; fi
    printf '== %s: %s, %d s\n' "$part" "$([ "$status" = 0 ] && echo passed || echo failed)" $((SECONDS - began))
  done
  printf '\n'
  [ -z "$failed" ] || fail "failed:$failed. Run one part again with ./tests/run.sh PART"
  printf 'All %d parts passed in %d s\n' "$passed" "$SECONDS"
}

# In braces, so that bash has read all of it before it starts and never reads on in a file that changed meanwhile.
{
  main "$@"
  exit
}
