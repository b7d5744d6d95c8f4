#!/usr/bin/env bash
# test.sh: makes a release of the programs that are built already, and looks at it as those who take it would. It stands in for the other
# architecture with the same archive: only names and hashes are looked at there.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../e2e/parts/env.sh"
here=$REPOSITORY/dist
version=$("$here/version.sh")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
arch=$(dpkg --print-architecture)

"$here/version.sh" "v$version" >/dev/null
if "$here/version.sh" v0.0.0-other 2>/dev/null; then die "a tag of another version was taken"; fi

"$here/build.sh" "$work/one" 2>/dev/null
"$here/build.sh" "$work/two" pitr-sidecar 2>/dev/null
for file in "$work"/two/*; do
  cmp "$file" "$work/one/${file##*/}" || die "the same program gave other bytes"
done

# The archive that krew, Homebrew and cargo-binstall unpack.
mkdir "$work/tar"
tar -xzf "$work/one/kubectl-pitr-$version-linux-$arch.tar.gz" -C "$work/tar"
[ "$("$work/tar/kubectl-pitr" --version)" = "kubectl-pitr $version" ] || die "the archive's plugin is not $version"
[ -s "$work/tar/LICENSE" ] || die "the archive has no licence"
[ -s "$work/tar/man/man1/kubectl-pitr-restore.1" ] || die "the archive has no manual"

# The packages, installed into a root of their own.
for deb in "$work"/one/*.deb; do
  dpkg-deb --info "$deb" >/dev/null
  dpkg-deb --extract "$deb" "$work/root"
done
[ "$("$work/root/usr/bin/kubectl-pitr" --version)" = "kubectl-pitr $version" ] || die "the package's plugin is not $version"
[ "$("$work/root/usr/bin/pitr-sidecar" --version)" = "pitr-sidecar $version" ] || die "the package's sidecar is not $version"
[ "$(readlink "$work/root/usr/bin/kubectl_complete-pitr")" = kubectl-pitr ] || die "the package does not complete"
gzip --test "$work/root/usr/share/man/man1/kubectl-pitr-restore.1.gz" || die "the package has no manual"

# The image: one program, and a user that is not root.
mkdir "$work/image"
tar -xf "$work/one/pitr-sidecar-$version-linux-$arch.oci.tar" -C "$work/image"
python3 - "$work/image" <<'PYTHON'
import json, pathlib, sys
root = pathlib.Path(sys.argv[1])
def blob(descriptor): return json.loads((root / "blobs" / descriptor["digest"].replace(":", "/")).read_bytes())
config = blob(blob(json.loads((root / "index.json").read_bytes())["manifests"][0])["config"])["config"]
assert config["User"] == "999:999" and config["Entrypoint"] == ["/pitr-sidecar"], config
PYTHON

# The index of both architectures.
for other in amd64 arm64; do
  [ "$other" = "$arch" ] || cp "$work/one/kubectl-pitr-$version-linux-$arch.tar.gz" "$work/one/kubectl-pitr-$version-linux-$other.tar.gz"
done
"$here/index.sh" "$work/one"
(cd "$work/one" && sha256sum --check --quiet --strict SHA256SUMS)
for file in pitr.yaml kubectl-pitr.rb; do
  if grep -n '@' "$work/one/$file"; then die "$file has a blank that was not filled"; fi
  [ "$(grep -c "$(sha256sum <"$work/one/kubectl-pitr-$version-linux-$arch.tar.gz" | cut -d' ' -f1)" "$work/one/$file")" = 2 ] ||
    die "$file does not name the archives by their hashes"
done
rm "$work/one/kubectl-pitr-$version-linux-arm64.tar.gz"
if "$here/index.sh" "$work/one" 2>/dev/null; then die "an index was made of half a release"; fi
say "a release of $version is whole: $(du -h "$work/one/kubectl-pitr-$version-linux-amd64.tar.gz" | cut -f1) the plugin's archive"
