#!/bin/sh
# Installs the Debian packages of packages.txt that are missing. Quick and silent
# when none is. Needs nothing but a shell, so that it can run before all else.
set -eu

here=$(dirname "$0")
wanted=$(grep -v '^#' "$here/packages.txt")

if ! command -v dpkg-query >/dev/null; then
	missing=
	for program in libvirtd virsh qemu-system-x86_64 qemu-img swtpm swtpm_setup genisoimage ip iptables ipset conntrack perl ping ssh openssl \
		mmdebstrap sfdisk mke2fs grub-mkimage mformat cpio depmod unshare nsenter setpriv flock npm; do
		PATH="$PATH:/usr/sbin:/sbin" command -v "$program" >/dev/null || missing="$missing $program"
	done
	[ -n "$missing" ] || exit 0
	echo "vireo: this is not a Debian system, so you have to install what is missing:$missing" >&2
	echo "vireo: on Debian these packages hold all that is needed:" $wanted >&2
	exit 1
fi

# Node 24 comes with the project's dependencies, but something has to fetch those.
command -v npm >/dev/null || wanted="$wanted nodejs npm"

# shellcheck disable=SC2086 # a list of words
installed=$(dpkg-query --show --showformat='${db:Status-Status} ${Package}\n' $wanted 2>/dev/null |
	sed -n 's/^installed //p') || true
missing=
for package in $wanted; do
	echo "$installed" | grep -qx "$package" || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

echo "vireo: installing Debian packages:$missing" >&2
if [ "$(id -u)" != 0 ]; then
	echo "vireo: this needs root; run: sudo apt-get install --no-install-recommends$missing" >&2
	exit 1
fi

# The testbed starts its own libvirtd in each node. Nothing that is installed
# here may start a service on this machine.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
	trap 'rm -f "$policy"' EXIT
	trap 'exit 1' HUP INT TERM
	printf '#!/bin/sh\nexit 101\n' >"$policy"
	chmod 755 "$policy"
fi

install() {
	# shellcheck disable=SC2086 # a list of words
	DEBIAN_FRONTEND=noninteractive apt-get install --yes --quiet --no-install-recommends $missing >&2 </dev/null
}

# The lists of packages are fetched only when those that are there do not do.
install || {
	echo "vireo: fetching the lists of packages" >&2
	apt-get update --quiet >&2
	install
}
