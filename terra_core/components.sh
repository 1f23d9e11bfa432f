# Enables the systemd units that components bring to a system; see docs/decisions/0011. Runs in the build of an image, before
# the components are laid over the system ("remember") and after it ("enable"), in whatever shell the system has, with
# little else.
set -eu
memory=/.terra-components/known

each_unit() {
	for unit in /etc/systemd/system/* /usr/lib/systemd/system/* /lib/systemd/system/*; do "$1"; done
}

remember() { echo "|${unit##*/}|"; }

choose() {
	name="${unit##*/}"
	case "$known" in *"|$name|"*) return ;; esac
	case "$name" in
		*[!A-Za-z0-9:_.\\@-]*) return ;; # no name of a unit, systemd.unit(5)
		*.service | *.socket | *.timer | *.path | *.mount | *.automount | *.swap | *.target) ;;
		*) return ;;
	esac
	# A link is another name of a unit, or masks it.
	if [ -L "$unit" ] || [ ! -f "$unit" ]; then return; fi
	installs=no
	instance=no
	while read -r line || [ -n "$line" ]; do
		case "$line" in
			"[Install]"*) installs=yes ;;
			DefaultInstance=?*) instance=yes ;;
		esac
	done < "$unit"
	case "$name" in *@.*) [ "$instance" = yes ] || return 0 ;; esac
	[ "$installs" = yes ] || return 0
	known="$known|$name|"
	units="$units $name"
}

case "$1" in
	remember) each_unit remember > "$memory" ;;
	enable)
		known="$(cat "$memory")"
		units=
		each_unit choose
		if command -v systemd-sysusers > /dev/null; then systemd-sysusers; fi
		if [ -z "$units" ]; then
			:
		elif command -v systemctl > /dev/null; then
			# Names of units hold nothing that a shell would split or expand.
			systemctl --root=/ preset --preset-mode=enable-only $units
		else
			echo "there is no systemctl here that could enable$units"
		fi
		rm -r /.terra-components
		;;
esac
