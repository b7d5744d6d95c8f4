# Sourced by every script of the parts: where things are kept, and the few functions that all of them need.
# shellcheck shell=bash disable=SC2034
PARTS=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
REPOSITORY=$(cd "$PARTS/../.." && pwd)
PITR_CACHE=$(realpath -m "${PITR_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/kubectl-pitr}") # built once, kept between runs
PITR_DEBIAN_SUITE=${PITR_DEBIAN_SUITE:-sid}                                             # MySQL 9.7, containerd and runc come from it
export PITR_CACHE PITR_DEBIAN_SUITE

say() { printf '%s %s\n' "$(date +%T)" "$*" >&2; }
die() { printf '%s: %s\n' "${0##*/}" "$*" >&2; exit 1; }

need() { # need PROGRAM...: one line that names the missing program
  local program
  for program; do
    command -v "$program" >/dev/null || die "needs the program \"$program\" (apt-get install it, or run make tools)"
  done
}

hold() { # hold NAME: at most one script at a time goes on from here; the lock ends with the caller
  mkdir -p "$PITR_CACHE/locks"
  exec {held_lock}>"$PITR_CACHE/locks/$1"
  if ! flock --nonblock "$held_lock"; then
    say "waiting: another build of $1 is running"
    flock "$held_lock"
  fi
}

# What is built is kept together with a hash of what it was built from. Call outdated first; if it says yes, build, then
# call built. An input is a folder (all files in it), a file, or a word.
hash_inputs() {
  local input
  for input; do
    if [ -d "$input" ]; then
      (cd "$input" && find . -type f -not -name '*.md' -print0 | LC_ALL=C sort -z | xargs -0 sha256sum)
    elif [ -f "$input" ]; then
      sha256sum <"$input"
    else
      printf '%s\n' "$input"
    fi
  done | sha256sum | cut -d' ' -f1
}

outdated() { # outdated THING INPUT...
  built_thing=$1
  shift
  built_hash=$(hash_inputs "$@")
  built_since=$SECONDS
  [ ! -e "$built_thing" ] || [ "$(cat "$built_thing.inputs" 2>/dev/null)" != "$built_hash" ]
}

built() {
  printf '%s\n' "$built_hash" >"$built_thing.inputs"
  say "built ${built_thing#"$PITR_CACHE"/} in $((SECONDS - built_since)) s"
}
