# Packs a release archive in its publisher's form.
# $1: what was built; $2: an empty directory for the archive; $3: the version; $4: the archive's name.
# The same programs make the same archive, whoever packs them and when.
set -eu
built=$1 into=$2 version=$3 name=$4
cd "$into"
case $name in
    istio-*)
        root=istio-$version
        mkdir -p "$root/bin"
        cp "$built/bin/istioctl" "$root/bin/"
        cp -R "$built/files/manifests" "$built/files/LICENSE" "$built/files/README.md" "$root/"
        find "$root/manifests" -mindepth 1 -maxdepth 1 ! -name charts ! -name profiles -exec rm -r {} +
        # The charts of the source tell no version; a release has its own in them.
        find "$root/manifests" -name Chart.yaml -exec \
            sed -i "s/^version: .*/version: $version/; s/^appVersion: .*/appVersion: $version/" {} +
        find "$root/manifests" -name '*.yaml' -exec \
            sed -i "s#hub: gcr.io/istio-testing\$#hub: docker.io/istio#; s/tag: latest\$/tag: $version/" {} +
        ;;
    helm-*)
        root=${name#"helm-$version-"}
        root=${root%.tar.gz}
        mkdir "$root"
        cp "$built/bin/helm" "$built/files/LICENSE" "$built/files/README.md" "$root/"
        ;;
esac
tar --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner --mode=u+rw,go=rX -c "$root" | gzip -n > "$name"
rm -r "$root"
