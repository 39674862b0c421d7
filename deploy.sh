#!/usr/bin/env bash
# The one entry point, for people and for CI. ./deploy.sh help says what it does.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
. scripts/lib.sh

build_options=()
quiet_log='' # when set, steps write there and say only how long they took

usage() {
  echo 'usage: ./deploy.sh [VERB] [ENV]      ENV is a file in env/: dev (default) or prod'
  sed -n 's/^.*[)] *#: /  /p' deploy.sh
}

main() {
  local verb=${1:-deploy}
  [ $# -eq 0 ] || shift
  case $verb in
    local) #: local [--keep|--stop]  run the whole pipeline on this machine: no AWS account, no Docker
      run_locally "$@"
      ;;
    build) #: build                  build the function and layer packages into build/
      no_more_arguments build "$@"
      prepare_python
      build
      ;;
    plan) #: plan [ENV]             show what a deploy would change
      prepare "$verb" "$@"
      build
      init
      plan
      ;;
    deploy) #: deploy [ENV]           build, plan and apply; './deploy.sh' is dev, './deploy.sh prod' is prod
      prepare "$verb" "$@"
      deploy
      ;;
    destroy) #: destroy [ENV] [--yes]  remove an environment; it asks for the name, --yes answers it
      destroy "$@"
      ;;
    help | -h | --help) #: help                   show this
      usage
      ;;
    *)
      [ -f "env/$verb.tfvars" ] || fail "unknown verb or environment: $verb. './deploy.sh help' lists them."
      prepare deploy "$verb" "$@"
      deploy
      ;;
  esac
}

no_more_arguments() { # VERB ARGUMENTS...
  [ $# -eq 1 ] || fail "./deploy.sh $1 does not take '$2'. './deploy.sh help' shows what it takes."
}

# prepare VERB [ENV]: choose the environment and check the tools.
prepare() {
  local verb=$1
  environment=${2:-dev}
  no_more_arguments "$verb" "${@:3}"
  variables=env/$environment.tfvars
  backend=env/$environment-backend.hcl
  [ "$environment" != dev ] || backend=env/backend.hcl
  [ -f "$variables" ] ||
    fail "unknown environment: $environment. A new one needs $variables and $backend; see those of prod."
  prepare_python
  find_terraform
}

prepare_python() {
  find_python
  python_env .venv
}

# step NAME COMMAND...: run a part of the work and say how long it took.
step() {
  local name=$1 began=$SECONDS
  shift
  if [ -z "$quiet_log" ]; then
    printf '\n== %s\n' "$name"
    "$@"
  else
    printf '%-34s' "$name"
    if ! "$@" >>"$quiet_log" 2>&1; then
      printf 'failed\n\n'
      tail -n 40 "$quiet_log" >&2
      fail "$name failed. The end of its output is above, all of it in $quiet_log"
    fi
    printf '%4d s\n' $((SECONDS - began))
  fi
}

build() { step 'Build packages' .venv/bin/python scripts/build.py ${build_options[@]+"${build_options[@]}"}; }

init() {
  step 'Initialise Terraform' terraform init -input=false -reconfigure -lockfile=readonly -backend-config="$backend"
}

plan() {
  saved_plan=${TF_DATA_DIR:-.terraform}/$environment.tfplan
  step "Plan $environment" terraform plan -input=false -var-file="$variables" -out="$saved_plan"
}

apply() { step "Apply to $environment" terraform apply -input=false "$saved_plan"; }

deploy() {
  build
  init
  plan
  apply
}

destroy() {
  local answer arguments=() argument confirmed=no keeping
  for argument in "$@"; do
    if [ "$argument" = --yes ]; then confirmed=yes; else arguments+=("$argument"); fi
  done
  prepare destroy ${arguments[@]+"${arguments[@]}"}
  init
  keeping=$(terraform output -json | "$PYTHON" -c "$list_keeping")
  if [ -n "$keeping" ]; then
    fail "$keeping keeps its data. To delete that too, set force_destroy = true in $variables, deploy, and destroy again."
  fi
  if [ "$confirmed" = no ]; then
    [ -t 0 ] || fail "destroy asks for the environment's name and there is no terminal. Pass --yes to go without."
    printf 'This deletes the %s environment with all its data. Type its name to go on: ' "$environment"
    read -r answer
    [ "$answer" = "$environment" ] || fail 'that is not its name, so nothing was changed.'
  fi
  step "Destroy $environment" terraform destroy -input=false -auto-approve -var-file="$variables"
}
# Every pipeline of the state counts, not only the one that was named: destroy removes all that the state holds.
list_keeping='import json, sys
pipelines = json.load(sys.stdin).get("pipelines", {"value": {}})["value"]
print(*(name for name, pipeline in pipelines.items() if not pipeline["force_destroy"]))'

run_locally() {
  local keep=no local_python=.venv/local-aws/bin/python settings began=$SECONDS
  case ${1:-} in
    --keep) keep=yes ;;
    --stop) ;;
    '') set -- run ;;
    *) no_more_arguments local "$@" ;;
  esac
  no_more_arguments "local $1" "${@:2}"
  prepare deploy dev
  settings=$("$PYTHON" scripts/local_aws.py env)
  python_env .venv/local-aws scripts/local-aws.txt
  eval "$settings"
  if [ "$1" = --stop ]; then
    "$local_python" scripts/local_aws.py stop
    return
  fi

  mkdir -p "$TF_DATA_DIR"
  quiet_log=$TF_DATA_DIR/deploy.log
  : >"$quiet_log"
  export TF_CLI_ARGS=-no-color
  use_packages_for_this_machine
  trap stop_local_aws EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM HUP
  local_aws=$("$local_python" scripts/local_aws.py start)
  deploy
  "$local_python" scripts/run_sample.py
  printf 'In all: %d s\n' $((SECONDS - began))
  [ $keep = no ] || keep_local_aws "$settings"
}

local_aws=unknown # started: by this run, so this run stops it; running: kept from an earlier run

# shellcheck disable=SC2329 # invoked by a trap
stop_local_aws() {
  local status=$?
  trap '' INT TERM HUP
  [ "$local_aws" != started ] || .venv/local-aws/bin/python scripts/local_aws.py stop
  exit "$status"
}

keep_local_aws() { # SETTINGS
  local_aws=running
  cat <<EOF

The local AWS goes on running. To use it from a shell in this folder:

$1

  aws s3 cp ikerian_sample.json s3://\$(terraform output -raw raw_data_bucket_name)/
  aws s3 ls s3://\$(terraform output -raw processed_data_bucket_name)/

Stop it with ./deploy.sh local --stop
EOF
}

# The emulator runs functions on this machine. Where that is not Linux on x86_64, the packages for Lambda would not load.
use_packages_for_this_machine() {
  if [ "$(uname -sm)" != 'Linux x86_64' ]; then
    build_options=(--for-this-machine --output .local/build)
    export TF_VAR_packages_dir=.local/build
  fi
}

# In braces, so that bash has read all of it before it starts and never reads on in a file that changed meanwhile.
{
  main "$@"
  exit
}
