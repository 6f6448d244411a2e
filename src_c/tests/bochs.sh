#!/bin/sh
# SPDX-License-Identifier: MIT
# Runs the C tests on a CPU with AVX-512 that Bochs emulates: bochs.sh FOLDER, the folder of the
# static programs that `make test-bochs` builds.
#
# Needs the Debian packages bochs, bochs-term, vgabios, isolinux, syslinux-common, xorriso and cpio,
# and a Linux image: KERNEL=FILE, by default the newest in /boot. Exit status 0: all passed.
set -eu
programs=$1
kernel=${KERNEL:-$(ls -t /boot/vmlinuz-* | head -1)}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/system/dev" "$work/iso"

# The init process runs the programs with AVX-512, prints to the serial line and powers off.
cat > "$work/init.c" <<'END'
#include <stdio.h>
#include <sys/reboot.h>
#include <sys/wait.h>
#include <unistd.h>
static int run(char *program, char *stride)
{
    char *arguments[] = {program, stride, "avx512", NULL};
    int status = 1;
    if (fork() == 0) {
        execv(program, arguments);
        _exit(127);
    }
    wait(&status);
    return status;
}
int main(void)
{
    int failed = run("/test_errors", "1") | run("/test_activations", SAMPLE);
    failed |= run("/test_bits", STRIDE) | run("/test_forward", STRIDE);
    printf("bochs: %s\n", failed ? "FAILED" : "all passed");
    fflush(stdout);
    sleep(1);
    reboot(RB_POWER_OFF);
    return 0;
}
END
${CC:-cc} -O1 -static -DSTRIDE="\"${STRIDE:-99}\"" -DSAMPLE="\"${SAMPLE:-99991}\"" \
    "$work/init.c" -o "$work/system/init"
cp "$programs"/test_errors "$programs"/test_activations "$programs"/test_bits \
    "$programs"/test_forward "$work/system/"
mknod "$work/system/dev/console" c 5 1
(cd "$work/system" && find . | cpio --quiet -o -H newc | gzip > "$work/iso/initrd.gz")
cp "$kernel" "$work/iso/vmlinuz"
cp /usr/lib/ISOLINUX/isolinux.bin /usr/lib/syslinux/modules/bios/ldlinux.c32 "$work/iso/"

# Linux refuses the size of the compacted register state that Bochs 2.7 reports. So XSAVEC (321) and
# XSAVES (323) are switched off.
printf 'DEFAULT t\nLABEL t\n KERNEL /vmlinuz\n INITRD /initrd.gz\n APPEND %s\n' \
    'console=ttyS0 quiet nokaslr mitigations=off tsc=unstable panic=1 clearcpuid=321,323' \
    > "$work/iso/isolinux.cfg"
xorriso -as mkisofs -quiet -o "$work/boot.iso" -b isolinux.bin -c boot.cat -no-emul-boot \
    -boot-load-size 4 -boot-info-table "$work/iso" 2> /dev/null
cat > "$work/bochsrc" <<END
megs: 512
cpu: stack=corei7_skylake_x, count=1, ips=100000000, reset_on_triple_fault=0, ignore_bad_msrs=1
romimage: file=/usr/share/bochs/BIOS-bochs-latest
vgaromimage: file=/usr/share/bochs/VGABIOS-lgpl-latest
ata0-master: type=cdrom, path=$work/boot.iso, status=inserted
boot: cdrom
com1: enabled=1, mode=file, dev=$work/serial.txt
display_library: term
log: $work/bochs.log
END
echo continue > "$work/commands" # Debian's build starts in its debugger
TERM=xterm timeout "${LIMIT:-3000}" script -qec \
    "nice -n 19 bochs -q -f $work/bochsrc -rc $work/commands" /dev/null < /dev/null > /dev/null || true
cat "$work/serial.txt"
grep -q 'bochs: all passed' "$work/serial.txt"
