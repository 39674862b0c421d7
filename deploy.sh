#!/usr/bin/env bash
# The one entry point, for people and for CI. ./deploy.sh help says what it does.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
. scripts/lib.sh

build_options=()
quiet_log='' # when set, steps write there and say only how long they took
scripts_python=.venv/scripts/bin/python
lock_timeout=30s
[ -z "${CI:-}" ] || lock_timeout=15m # nobody is there to try again
data_loss=refused
region='' account='' project_name='' state_bucket='' state_exists='' bootstrapped='' # what account.py finds out
# What Terraform works on: an environment, unless work_on_bootstrap says otherwise. Nothing precious goes unasked.
root=. target='' change=deploy precious=data

usage() {
  echo 'usage: ./deploy.sh [VERB] [ENV] [OPTION...]      ENV is a file in env/: dev (default) or prod'
  sed -n 's/^.*[)] *#: /  /p' deploy.sh
}

main() {
  local verb=${1:-deploy}
  [ $# -eq 0 ] || shift
  case $verb in
    local) #: local [--keep|--stop]      run the whole pipeline on this machine: no AWS account, no Docker
      run_locally "$@"
      ;;
    build) #: build                      build the function and layer packages into build/
      no_more_arguments build "$@"
      prepare_python
      build
      ;;
    bootstrap) #: bootstrap [ENV] [--allow-data-loss]  make or update what an account needs once: state bucket, roles
      prepare_change "$verb" "$@"
      connect
      bootstrap
      ;;
    plan) #: plan [ENV]                 show what a deploy would change, and keep the plan for apply
      prepare "$verb" "$@"
      connect
      need_state
      build
      init
      plan -lock=false # it changes nothing, and may be of somebody who may not
      printf '\n%s\n' "To apply exactly this: ./deploy.sh apply $environment"
      ;;
    apply) #: apply [ENV] [--allow-data-loss]  apply exactly what the last plan showed
      prepare_change "$verb" "$@"
      connect
      need_state
      [ -f "$saved_plan" ] || fail "there is no saved plan for $environment. Make one: ./deploy.sh plan $environment"
      init
      apply
      finish
      ;;
    deploy) #: deploy [ENV] [--allow-data-loss]  build, plan, apply, and try it; './deploy.sh' is dev, './deploy.sh prod' prod
      prepare_change "$verb" "$@"
      deploy
      ;;
    rollback) #: rollback [ENV] [VERSION]   go back to the function's version before, or to this one, without a build
      no_more_arguments "$verb" "${@:3}"
      prepare_pipeline "$verb" "${@:1:1}"
      with_pipeline
      "$scripts_python" scripts/rollback.py "${@:2}"
      run "$scripts_python" scripts/smoke_test.py "$environment"
      ;;
    drift) #: drift [ENV] [--issue]      say whether AWS is as the code has it; --issue keeps a GitHub issue about it
      drift "$@"
      ;;
    status) #: status [ENV]               one screen: version, last file, the last hour, queues, alarms
      operate "$verb" "$@"
      ;;
    logs) #: logs [ENV] [--once]        follow what the function does, a line per file
      operate "$verb" "$@"
      ;;
    audit) #: audit [ENV] [--repair]     did every upload come out? --repair sends again what is missing
      operate "$verb" "$@"
      ;;
    failures) #: failures [ENV]             what could not be processed, and why
      operate "$verb" "$@"
      ;;
    redrive) #: redrive [ENV] [--key KEY]  send failed events back through the pipeline
      operate "$verb" "$@"
      ;;
    reprocess) #: reprocess [ENV] --prefix P  send existing uploads through the pipeline again
      operate "$verb" "$@"
      ;;
    destroy) #: destroy [ENV] [--yes]      remove an environment; it asks for the name, --yes answers it
      destroy "$@"
      ;;
    unlock) #: unlock ENV ID [--bootstrap]  after a deploy has died: release its lock, adopt what it made last
      unlock "$@"
      ;;
    help | -h | --help) #: help                       show this
      usage
      ;;
    *)
      [ -f "env/$verb.tfvars" ] || fail "unknown verb or environment: $verb. './deploy.sh help' lists them."
      prepare_change deploy "$verb" "$@"
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
  environment=${2:-dev} target=${2:-dev}
  no_more_arguments "$verb" "${@:3}"
  variables=env/$environment.tfvars
  backend=env/$environment-backend.hcl
  [ "$environment" != dev ] || backend=env/backend.hcl
  variable_options=(-var-file="$variables")
  [ -f "$variables" ] ||
    fail "unknown environment: $environment. A new one needs $variables and $backend; see those of prod."
  prepare_python
  find_terraform
}

# prepare_change VERB [ENV] [--allow-data-loss]
prepare_change() {
  local verb=$1 argument arguments=()
  for argument in "${@:2}"; do
    if [ "$argument" = --allow-data-loss ]; then data_loss=allowed; else arguments+=("$argument"); fi
  done
  prepare "$verb" ${arguments[@]+"${arguments[@]}"}
}

# connect: ask AWS whose credentials these are, refuse the wrong account, and learn where the state is.
connect() {
  local known
  python_env .venv/scripts scripts/requirements.txt
  known=$("$scripts_python" scripts/account.py show "$environment") || exit 1
  eval "$known"
  saved_plan=${TF_DATA_DIR:-.terraform}/$environment.tfplan
  export AWS_REGION=$region AWS_DEFAULT_REGION=$region
}

need_state() {
  [ "$state_exists" = yes ] || fail "$environment was never deployed from account $account. Deploy it: ./deploy.sh deploy $environment"
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
    run "$@"
  else
    printf '%-34s' "$name"
    if ! run "$@" >>"$quiet_log" 2>&1; then
      printf 'failed\n\n'
      tail -n 40 "$quiet_log" >&2
      fail "$name failed. The end of its output is above, all of it in $quiet_log"
    fi
    printf '%4d s\n' $((SECONDS - began))
  fi
}

# run COMMAND...: in a process group of its own, so that it gets a signal once, from stop, and not from the terminal too.
run() {
  local status=0
  set -m
  "$@" </dev/null &
  running=$!
  set +m
  wait "$running" || status=$?
  running=''
  return "$status"
}

# stop STATUS: interrupt the command that runs as Ctrl-C does, once, and wait for it: Terraform saves its state then.
# shellcheck disable=SC2329 # invoked by a trap
stop() {
  trap '' INT TERM HUP
  if [ -n "$running" ]; then
    kill -INT -- "-$running" 2>/dev/null || true
    wait "$running" || true
    printf 'error: interrupted. What was done is in the state; run it again to go on.\n' >&2
  fi
  exit "$1"
}
running=''
trap 'stop 130' INT
trap 'stop 143' TERM HUP

build() { step 'Build packages' .venv/bin/python scripts/build.py ${build_options[@]+"${build_options[@]}"}; }

# tf ARGUMENTS...: Terraform, on what it works on.
tf() { terraform -chdir="$root" "$@"; }

init() {
  step "Initialise Terraform for $target" tf init -input=false -reconfigure -lockfile=readonly \
    -backend-config="$backend" -backend-config="bucket=$state_bucket"
}

# tf_state NAME ARGUMENTS...: a step of Terraform that works on the state; when it fails, say what to do.
tf_state() {
  local name=$1
  shift
  rescue_state
  if step "$name" tf_heard "$@"; then return; fi
  rescue_state
  explain
  fail "$name failed; what Terraform says is above. What was done is in the state: mend the cause and repeat."
}

# tf_heard ARGUMENTS...: Terraform, whose errors are kept for explain.
# shellcheck disable=SC2329 # step invokes it
tf_heard() { { tf "$@" 2>&1 >&3 3>&- | tee -i "$(errors)" >&2; } 3>&1; }

errors() { printf %s "${TF_DATA_DIR:-.terraform}/errors.txt"; }

# explain: end with one line when Terraform's errors are of a kind that is known.
explain() { "$scripts_python" scripts/terraform_errors.py "$target" "$change" "$environment" <"$(errors)" || exit 1; }

# rescue_state: save the state that Terraform could not save. It leaves it in a file and does not look there again.
rescue_state() {
  local kept=$PWD/errored-$target.tfstate
  [ ! -e "$root/errored.tfstate" ] || mv "$root/errored.tfstate" "$kept"
  [ -e "$kept" ] || return 0
  if ! step "Save the state of $kept" tf_heard state push "$kept"; then
    explain
    fail "the state of $target could not be saved; it is in $kept. Keep that file: ./deploy.sh $change $environment tries again."
  fi
  rm "$kept"
}

plan() { # [OPTION]
  tf_state "Plan $target" plan -input=false -lock-timeout="$lock_timeout" "${variable_options[@]}" \
    -out="$saved_plan" -compact-warnings "$@"
  step 'Summary' summarise
}

summarise() { tf show -json "$saved_plan" | "$scripts_python" scripts/plan_summary.py "$target" "$@"; }

# apply: do what the saved plan says, nothing else, unless it deletes what must stay and nobody has agreed to that.
apply() {
  local answer
  if [ "$data_loss" = refused ] && ! summarise --refuse-data-loss; then
    if [ -n "${CI:-}" ] || [ ! -t 0 ]; then
      fail "this plan deletes $precious, so nothing was changed. If it is meant: ./deploy.sh $change $environment --allow-data-loss"
    fi
    printf 'This deletes %s for good. Type %s to go on: ' "$precious" "$target"
    read -r answer
    [ "$answer" = "$target" ] || fail 'that is not its name, so nothing was changed.'
  fi
  tf_state "Apply to $target" apply -input=false -lock-timeout="$lock_timeout" "$saved_plan"
  rm -f "$saved_plan"
}

deploy() {
  connect
  [ "$bootstrapped" = yes ] || bootstrap
  build
  init
  plan
  apply
  finish
}

# adopt: note in the state what a deploy that died had made but not noted; Terraform notes only every 20 seconds.
adopt() {
  local address id found
  plan
  found=$(tf show -json "$saved_plan" | "$scripts_python" scripts/adopt.py) || exit 1
  while read -r address id; do
    [ -n "$address" ] || continue
    tf_state "Adopt $id" import -input=false -lock-timeout="$lock_timeout" "${variable_options[@]}" "$address" "$id"
  done <<<"$found"
  rm -f "$saved_plan"
}

# unlock ENV ID [--bootstrap]: can be repeated, so a lock that is gone is no fault.
unlock() {
  case "$#${3:-}" in
    2 | 3--bootstrap) ;;
    *) fail "unlock takes an environment and the lock's ID, as the refused deploy has named them." ;;
  esac
  prepare unlock "$1"
  connect
  need_state
  if [ $# -eq 3 ]; then work_on_bootstrap; else build; fi
  init
  if ! step "Unlock $target" tf_heard force-unlock -force "$2"; then
    grep -q NoSuchKey "$(errors)" || fail "$target stays locked. Use the ID that the refused deploy has named last."
    printf '%s is not locked any more.\n' "$target"
  fi
  adopt
}

# finish: try what was deployed, and say where it is.
finish() {
  local pipelines name
  pipelines=$(terraform output -json pipelines)
  for name in $(printf %s "$pipelines" | "$PYTHON" -c 'import json, sys; print(*json.load(sys.stdin))'); do
    export_pipeline "$pipelines" "$name"
    run "$scripts_python" scripts/smoke_test.py "$environment"
    printf %s "$PIPELINE" | "$PYTHON" -c "$describe" "$name"
  done
}
describe='import json, sys
pipeline = json.load(sys.stdin)
print(f"""
{sys.argv[1]} is deployed.
  uploads    {pipeline["raw_data_bucket_name"]}
  results    {pipeline["processed_data_bucket_name"]}
  function   {pipeline["lambda_function_name"]}
  dashboard  {pipeline["dashboard_name"]}
Upload a file: aws s3 cp ikerian_sample.json s3://{pipeline["raw_data_bucket_name"]}/""")'

# export_pipeline PIPELINES NAME: put one pipeline of the state into the environment of the scripts.
export_pipeline() {
  PIPELINE=$(printf %s "$1" | "$PYTHON" -c 'import json, sys; print(json.dumps(json.load(sys.stdin)[sys.argv[1]]))' "$2" 2>/dev/null) ||
    fail "$environment is not deployed in account $account. Deploy it: ./deploy.sh deploy $environment"
  export PIPELINE
}

# operate VERB [ENV] [OPTION...]: hand over to the operating commands, each of which explains itself with --help.
operate() {
  prepare_python
  python_env .venv/scripts scripts/requirements.txt >&2 # programs read what comes next
  unset PIPELINE
  exec "$scripts_python" scripts/operate.py "$@"
}

# prepare_pipeline VERB [ENV]: choose a deployed pipeline; ENV may also be one of several in a file of env/.
prepare_pipeline() {
  environment=${2:-dev}
  no_more_arguments "$1" "${@:3}"
  prepare_python
}

# with_pipeline: read the outputs of the chosen pipeline from the state.
with_pipeline() {
  local known
  python_env .venv/scripts scripts/requirements.txt
  known=$("$scripts_python" scripts/account.py pipeline "$environment") || exit 1
  eval "$known"
  export PIPELINE AWS_REGION=$region AWS_DEFAULT_REGION=$region
}

# bootstrap: the state bucket, bare at first, then adopted and completed by its own module, whose state it holds too.
bootstrap() {
  local root target change precious variable_options backend saved_plan TF_DATA_DIR=${TF_DATA_DIR:-.terraform}
  step "Make the state bucket $state_bucket" "$scripts_python" scripts/account.py make-bucket "$environment"
  work_on_bootstrap
  init
  plan
  apply
}

# work_on_bootstrap: from here on, Terraform works on what the account needs once, and not on an environment.
work_on_bootstrap() {
  local environments
  environments=$("$scripts_python" scripts/account.py environments "$environment") || exit 1
  export TF_DATA_DIR=${TF_DATA_DIR:-.terraform}
  TF_DATA_DIR=$(cd "$(dirname "$TF_DATA_DIR")" && pwd)/$(basename "$TF_DATA_DIR")-bootstrap
  root=bootstrap target=bootstrap change=bootstrap precious='the state bucket or what GitHub signs in with'
  backend=region=$region
  saved_plan=$TF_DATA_DIR/bootstrap.tfplan
  variable_options=(-var-file=../env/bootstrap.tfvars -var="project_name=$project_name" -var="region=$region"
    -var="environments=$environments")
}

drift() {
  local argument arguments=() issue=no found=clean text
  for argument in "$@"; do
    if [ "$argument" = --issue ]; then issue=yes; else arguments+=("$argument"); fi
  done
  prepare drift ${arguments[@]+"${arguments[@]}"}
  connect
  need_state
  build
  init
  step "Plan $environment" terraform plan -input=false -lock=false -var-file="$variables" -out="$saved_plan" -compact-warnings
  text=$(summarise)
  rm -f "$saved_plan"
  printf '\n%s\n' "$text"
  case $text in *': no changes.'*) ;; *) found=drifted ;; esac
  [ $issue = no ] || printf '%s\n' "$text" | "$scripts_python" scripts/drift_issue.py "$environment" "$found"
  [ $found = clean ] || fail "AWS is not as the code has it. ./deploy.sh deploy $environment brings it back; the plan is above."
}

destroy() {
  local answer arguments=() argument confirmed=no keeping
  for argument in "$@"; do
    if [ "$argument" = --yes ]; then confirmed=yes; else arguments+=("$argument"); fi
  done
  prepare destroy ${arguments[@]+"${arguments[@]}"}
  connect
  need_state
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
  tf_state "Destroy $environment" destroy -input=false -auto-approve -compact-warnings \
    -lock-timeout="$lock_timeout" -var-file="$variables"
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
  prepare deploy local
  settings=$("$PYTHON" scripts/local_aws.py env)
  python_env .venv/local-aws scripts/local-aws.txt
  python_env .venv/scripts scripts/requirements.txt
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
  local_aws=$("$local_python" scripts/local_aws.py start)
  "$scripts_python" scripts/account.py make-bucket local # bare: nobody else can reach it
  connect
  build
  init
  plan
  apply
  "$scripts_python" scripts/run_sample.py
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
