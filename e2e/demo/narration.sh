# Sourced by the demos: how they speak.
# shellcheck shell=bash
if [ -t 1 ] && [ -z "${NO_COLOR:-}" ]; then bold=$'\e[1m' dim=$'\e[2m' plain=$'\e[0m'; else bold='' dim='' plain=''; fi
demo_began=$SECONDS

chapter() { # chapter TITLE
  printf '\n%s%s%s  %s(%d s)%s\n' "$bold" "$*" "$plain" "$dim" $((SECONDS - demo_began)) "$plain"
}
tell() { printf '%s\n' "$@" | fold -s -w 110; }

shown() { # shown WORD...: a command line as a person would type it
  local word line=
  for word; do
    case $word in
      *[!A-Za-z0-9_/:=.,@%+-]* | '') line+=" '${word//\'/\'\\\'\'}'" ;;
      *) line+=" $word" ;;
    esac
  done
  printf '%s$%s%s\n' "$bold" "$line" "$plain"
}
run() { # run COMMAND...: shows a command and runs it
  shown "$@"
  "$@"
}
wait_for() { # wait_for SECONDS WHAT COMMAND...
  local end=$((SECONDS + $1)) what=$2
  shift 2
  until "$@" >/dev/null 2>&1; do
    if [ $SECONDS -ge $end ]; then
      printf 'gave up waiting for %s; the last try said:\n' "$what" >&2
      "$@" >&2 || true
      return 1
    fi
    sleep 0.5
  done
}

# drop_instant: reads mysqlbinlog's text of a binlog, prints the commit time of its last DROP TABLE in microseconds.
drop_instant() {
  awk '/original_commit_timestamp=/ {
         split($0, part, "original_commit_timestamp=")
         sub(/[^0-9].*/, "", part[2]); at = part[2]
       }
       /^DROP TABLE/ { drop = at }
       END { if (drop == "") exit 1; print drop }'
}
rfc3339() { # rfc3339 MICROSECONDS
  printf '%s.%06dZ\n' "$(date -u -d "@$(($1 / 1000000))" +%Y-%m-%dT%H:%M:%S)" $(($1 % 1000000))
}

# compare NAME BEFORE AFTER: one line of proof; the demo fails if they differ.
compare() {
  if [ "$2" = "$3" ]; then
    printf '  %-46s %-22s = %s\n' "$1" "$2" "$3"
  else
    printf '  %-46s %-22s BUT %s\n' "$1" "$2" "$3"
    return 1
  fi
}
