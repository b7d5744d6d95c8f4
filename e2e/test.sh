#!/usr/bin/env bash
# test.sh STAGE...: runs the stages of the tests, says how long each took, and ends with one line of counts.
#   lint          formatting, clippy, scripts, licences, alerts
#   unit          tests inside the sources, and those of the documentation
#   integration   tests/ of every package but the cluster's: libraries and built programs against real mysqld and S3 servers
#   stores        the archive and the programs against S3 servers that others wrote: STORES (default rgw), see e2e/parts/README.md
#   long          what takes hours: the stage "stores" with Garage, three archivers on it for an hour, 20 random workloads with 10 targets each
#   cluster       e2e/tests/cluster.rs on a real Kubernetes
#   CLUSTER=node|kind|none   which Kubernetes (default node; none leaves the stage "cluster" out)
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/parts/env.sh"
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PITR_CACHE/target} CARGO_TERM_COLOR=${CARGO_TERM_COLOR:-auto}
export CLUSTER=${CLUSTER:-node}
cd "$REPOSITORY"
passed=0 failed=0 skipped=0 report=()
mkdir -p "$PITR_CACHE/log"

# step NAME COMMAND...: one thing that passes or fails; what comes before it failed is no reason to stop.
step() {
  local name=$1 begun=$SECONDS log=$PITR_CACHE/log/test-$1.log status counts
  shift
  say "=== $name"
  set +e # a command behind || would run without -e itself, all its functions included
  (set -e; "$@") 2>&1 | tee "$log"
  status=${PIPESTATUS[0]}
  set -e
  # Cargo's own counts, where it ran tests; else the step itself counts as one.
  counts=$(awk '/^test result:/ {p += $4; f += $6; s += $8} END {if (p + f) print p, f, s}' "$log")
  if [ -z "$counts" ]; then
    if [ "$status" = 0 ]; then counts="1 0 0"; else counts="0 1 0"; fi
  fi
  local p f s
  read -r p f s <<<"$counts"
  if [ "$status" != 0 ] && [ "$f" = 0 ]; then f=1; fi
  passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
  report+=("$(printf '%-14s %5d s   %4d passed %3d failed %3d skipped' "$name" $((SECONDS - begun)) "$p" "$f" "$s")")
}

scripts() { # every shell script is at least whole, and clean where shellcheck is there
  local list script
  mapfile -t list < <(git ls-files '*.sh' e2e/parts/mysql/run .ci/run)
  for script in "${list[@]}"; do bash -n "$script"; done
  if command -v shellcheck >/dev/null; then
    shellcheck --external-sources --source-path=SCRIPTDIR "${list[@]}"
  else
    say "shellcheck is not there: scripts were checked for syntax only"
  fi
}

licences() {
  if command -v cargo-deny >/dev/null; then cargo deny --locked check; else say "cargo-deny is not there: left out"; fi
}

workflows() { # the workflows as their runner understands them
  if command -v go >/dev/null; then
    go run github.com/rhysd/actionlint/cmd/actionlint@v1.7.12 .github/workflows/*.yml
  else
    say "go is not there: workflows were not checked"
  fi
}

stage_lint() {
  step format cargo fmt --all --check
  step clippy cargo clippy --workspace --all-targets --features pitr-e2e/cluster --locked -- -D warnings
  step clippy-model cargo clippy -p pitr-model --all-targets --features stateright --locked -- -D warnings
  step scripts scripts
  step alerts "$REPOSITORY/e2e/alerts.sh"
  if "$PARTS/chromium.sh" possible 2>/dev/null; then
    step report "$REPOSITORY/e2e/report.sh"
  else
    say "*** NO BROWSER CAN BE RUN HERE: THE REPORT WAS NOT SEEN."
    skipped=$((skipped + 1))
    report+=("report         left out: see above")
  fi
  step licences licences
  step workflows workflows
}

# Always the whole workspace: with a part of it cargo would choose other features, and build the dependencies again.
stage_unit() {
  step build cargo test --workspace --locked --no-run
  step unit cargo test --workspace --locked --no-fail-fast --lib --bins
  step doc cargo test --workspace --locked --no-fail-fast --doc
  # Alone, for the checker's features are none of the product's.
  step model cargo test -p pitr-model --features stateright --locked --test rules
}

# test_program NAME [OPTION...]: all test programs of that name, with these options; what they print appears in one piece.
test_program() {
  local said status=0
  said=$(cargo test --workspace --locked --no-fail-fast --test "$1" -- "${@:2}" 2>&1) || status=$?
  flock "$PITR_CACHE/locks/said" printf '%s\n' "$said"
  return $status
}

# side_by_side [OPTION...] <NAMES: each by itself, as many at once as there are cores, for they mostly wait for their servers.
# shellcheck disable=SC2119,SC2120 # options are given where it is exported to
side_by_side() {
  mkdir -p "$PITR_CACHE/locks"
  cargo test --workspace --locked --no-run
  xargs -P "$(nproc)" -I{} bash -c 'test_program "$@"' - {} "$@"
}
export -f test_program side_by_side

# Those with servers take longest and come first. Without the feature "cluster" the cluster's file holds no test; the model's rules are
# checked alone.
test_programs() {
  find {e2e,sidecar,kubectl-pitr,e2e/s3-server,crates/*}/tests -name '*.rs' | sed -nE 's|.*/tests/([^/]+)(/main)?\.rs$|\1|p' |
    grep -vx rules | awk '!seen[$0]++'
}

# shellcheck disable=SC2119
integration() { test_programs | side_by_side; }

stage_integration() {
  step mysql "$PARTS/mysql/build.sh"
  step integration integration
}

stage_stores() {
  local store
  if ! "$PARTS/stores/possible.sh"; then
    say "*** NO TEST ON A REAL OBJECT STORE WAS RUN."
    skipped=$((skipped + 1))
    report+=("stores         left out: see above")
    return
  fi
  step mysql "$PARTS/mysql/build.sh"
  for store in ${STORES:-rgw}; do
    # These tests are ignored elsewhere: they need a store, and find it in the environment.
    step "$store" "$PARTS/stores/with.sh" "$store" \
      bash -c 'printf "%s\n" retention real_stores real_servers conformance | side_by_side --ignored'
  done
}

stage_long() {
  STORES=garage stage_stores
  step hour env PITR_TEST_STORE_SECONDS=3600 "$PARTS/stores/with.sh" garage \
    cargo test --workspace --locked --test real_stores -- --ignored three_archivers
  step targets env PITR_TEST_WORKLOADS=20 PITR_TEST_TARGETS=10 cargo test --workspace --locked --test exact
}

node_parts() { # everything for the node; what is being built in the background is waited for
  "$PARTS/node/build.sh" && "$PARTS/images/build.sh" pause tools mysql
}

cluster_tests() {
  local bin
  bin=$("$PARTS/programs.sh")
  "$PARTS/images/build.sh" sidecar s3-server
  CLUSTER_NAME=tests "$REPOSITORY/e2e/cluster.sh" up
  local status=0
  KUBECONFIG=$(CLUSTER_NAME=tests "$REPOSITORY/e2e/cluster.sh" kubeconfig)
  export KUBECONFIG PITR_BIN_DIR=$bin PATH=$bin:$PITR_CACHE/bin:$PATH
  cargo test --workspace --locked --no-fail-fast --features pitr-e2e/cluster --test cluster || status=$?
  if [ $status = 0 ] || [ -n "${CI:-}" ]; then
    CLUSTER_NAME=tests "$REPOSITORY/e2e/cluster.sh" down
  else
    say "the cluster is left up to look at: export KUBECONFIG=$KUBECONFIG; away with it: make clean"
  fi
  return $status
}

stage_cluster() {
  if [ "$CLUSTER" = none ]; then
    say "************************************************************************"
    say "*** CLUSTER=none: NO TEST ON A REAL KUBERNETES WAS RUN.              ***"
    say "************************************************************************"
    skipped=$((skipped + 1))
    report+=("cluster        left out: CLUSTER=none")
    return
  fi
  if [ "$CLUSTER" = node ]; then step node node_parts; fi
  step cluster cluster_tests
  # Of the programs that the cluster's test has just used.
  step dist env "PITR_BIN_DIR=$("$PARTS/programs.sh")" "$REPOSITORY/dist/test.sh"
}

[ $# -gt 0 ] || set -- lint unit integration stores cluster
"$PARTS/tools.sh" shellcheck
if [[ " $* " = *" cluster "* ]] && [ "$CLUSTER" = node ]; then
  if ! obstacle=$("$PARTS/node/possible.sh"); then
    die "$obstacle. Run it with CLUSTER=kind (where Docker and kind are), or with CLUSTER=none"
  fi
  # Go and cargo do not wait for the same things: the node is built beside the other stages.
  nice "$PARTS/node/build.sh" >"$PITR_CACHE/log/node-build.log" 2>&1 &
fi
for stage; do "stage_$stage"; done
printf '\n'
printf '%s\n' "${report[@]}"
printf '%d passed, %d failed, %d skipped\n' "$passed" "$failed" "$skipped"
[ $failed = 0 ]
