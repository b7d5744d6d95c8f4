#!/usr/bin/env bash
# possible.sh: succeeds if a real object store can run on this machine; else says in one line why not.
set -euo pipefail
if [ "$(uname -s)" != Linux ] || [ "$(id -u)" != 0 ]; then
  echo "a real object store needs Linux and root: it runs in namespaces of its own" >&2
  exit 1
elif ! unshare --mount --pid --fork true 2>/dev/null; then
  echo "a real object store needs to make namespaces, and this machine does not let it" >&2
  exit 1
fi
