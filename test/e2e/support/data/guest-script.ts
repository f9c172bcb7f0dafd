import { BLOCK_BYTES } from "./blocks.ts";

/** Where the writer is on the guest's root disk, and what is there while it writes. */
export const SCRIPT_PATH = "/root/data.sh";
export const WRITING_PATH = "/run/data-writer";

/**
 * The guest's half: writes blocks one after the other, each flushed to its disk
 * before the console says so; reads blocks from the disks and not from memory.
 * Disks are found by their serial numbers, whatever the kernel calls them.
 */
export const GUEST_SCRIPT = `#!/bin/sh
# write NUMBER DISK/SLOT/SERIAL/BLOCK...   the first gets this number, each further one the next
# read SERIAL/BLOCK...
# size SERIAL   in sectors of 512 bytes
device_of() {
	for disk in /sys/block/*; do
		serial=
		case $disk in
		*/vd*) read -r serial <$disk/serial ;;
		*/sd*) serial=$(tr -d '\\000' <$disk/device/vpd_pg80) ;;
		esac
		case "$serial" in *$1*)
			device=/dev/\${disk##*/}
			return 0
			;;
		esac
	done
	return 1
}
block() {
	body=$(printf '%-62s' "vireo disk=$1 slot=$2 sequence=$3")
	sum=$(printf %s "$body" | sha256sum)
	record="$body \${sum%% *}
"
	four=$record$record$record$record
	sixteen=$four$four$four$four
	printf %s "$sixteen$sixteen"
}
write_one() {
	device_of $3 && block $1 $2 $number |
		dd of=$device bs=${BLOCK_BYTES} count=1 iflag=fullblock seek=$4 conv=notrunc,fsync 2>/dev/null
}
action=$1
shift
case $action in
write)
	number=$1
	shift
	for word; do
		if ! write_one $(echo $word | tr / ' '); then
			echo "data-failed $number." >/dev/console
			break
		fi
		echo "data-written $number." >/dev/console
		number=$((number + 1))
	done
	rmdir ${WRITING_PATH}
	;;
read)
	echo 3 >/proc/sys/vm/drop_caches
	known=
	for word; do
		[ "\${word%/*}" = "$known" ] || device_of \${word%/*} || exit 1
		known=\${word%/*}
		dd if=$device bs=${BLOCK_BYTES} count=1 skip=\${word#*/} 2>/dev/null
	done | gzip -1 | base64
	;;
size)
	device_of $1 && cat /sys/block/\${device#/dev/}/size
	;;
esac
`;
