#!/bin/sh
# Puts the service in place, or takes it away again: `make install`, `make uninstall`.
#
# Ledger, settings, token and datasets are never touched. May be run again at any time: that is the
# upgrade. The new program is built beside the old one and takes its place at the end, so that a build
# that fails changes nothing.
set -eu
umask 022 # the service's user has to read what root installs

DESTDIR=${DESTDIR:-}
PREFIX=${PREFIX:-/opt/stackwatch}
CONFDIR=${CONFDIR:-/etc/stackwatch}
UNITDIR=${UNITDIR:-/etc/systemd/system}
SYSUSERSDIR=${SYSUSERSDIR:-/usr/lib/sysusers.d}
TMPFILESDIR=${TMPFILESDIR:-/usr/lib/tmpfiles.d}
BINDIR=${BINDIR:-/usr/local/bin}
MANDIR=${MANDIR:-/usr/local/share/man}
PYTHON=${PYTHON:-python3}
EXTRAS=${EXTRAS:-}
SOURCE=$(cd "$(dirname "$0")/.." && pwd)
UNIT=stackwatch.service
STATE=/var/lib/stackwatch

say() { printf '%s\n' "$*"; }
fail() { printf 'Error: %s\n' "$*" >&2; exit 1; }

# With DESTDIR a tree is filled for a package, and this machine is left alone.
is_live() { [ -z "$DESTDIR" ] && [ -d /run/systemd/system ]; }
is_active() { is_live && systemctl is-active --quiet "$UNIT"; }

check_root() {
  [ -n "$DESTDIR" ] || [ "$(id -u)" -eq 0 ] || fail "this needs root: sudo make $1"
}

# Paths are written into the unit and into scripts, which know no blanks.
check_paths() {
  for path in "$PREFIX" "$CONFDIR" "$UNITDIR" "$SYSUSERSDIR" "$TMPFILESDIR" "$BINDIR" "$MANDIR"; do
    case "$path" in
      / | [!/]* | *[!A-Za-z0-9/._+-]* | *//* | */ | */../* | */..)
        fail "“$path” cannot be used: name an absolute path of letters, digits and . _ + -, without a slash at its end" ;;
    esac
  done
}

# What is there and no environment of ours is never replaced or removed.
check_prefix() {
  [ ! -e "$DESTDIR$PREFIX" ] || [ -e "$DESTDIR$PREFIX/pyvenv.cfg" ] ||
    fail "$DESTDIR$PREFIX is there and no Python environment; name another place: PREFIX=/opt/somewhere"
}

check_python() {
  command -v "$PYTHON" >/dev/null || fail "no $PYTHON found; name one: make install PYTHON=/usr/bin/python3.11"
  "$PYTHON" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' ||
    fail "$("$PYTHON" --version) found, but the pinned packages are for Python 3.11; name one: make install PYTHON=/usr/bin/python3.11"
  home=$("$PYTHON" -c 'import os, sys; print(os.path.realpath(sys.base_prefix))')
  case "$home/" in
    /home/* | /root/* | /run/user/*)
      fail "$PYTHON lies in $home, which the service cannot see; name one of the system: make install PYTHON=/usr/bin/python3.11" ;;
  esac
}

build() {
  rm -rf "$1"
  "$PYTHON" -m venv "$1" ||
    fail "$PYTHON -m venv failed; on Debian and Ubuntu: apt install python3-venv"
  say "Installing the pinned packages ..."
  "$1/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps \
    -r "$SOURCE/requirements/run.txt"
  "$1/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps "$SOURCE"
  [ -z "$EXTRAS" ] ||
    "$1/bin/python" -m pip install --quiet --disable-pip-version-check "$SOURCE[$EXTRAS]"
  # its programs name the place where they were built
  find "$1/bin" -type f -exec grep -lIFZ "$1" {} + | xargs -0 -r sed -i "s|$1|$PREFIX|g"
  sed -i "s|$1|$PREFIX|g" "$1/pyvenv.cfg"
}

copy() { # mode, from, to
  mkdir -p "$(dirname "$3")"
  sed -e "s|/opt/stackwatch|$PREFIX|g" -e "s|/etc/stackwatch|$CONFDIR|g" "$2" >"$3.new"
  chmod "$1" "$3.new"
  mv -f "$3.new" "$3"
}

# The program is asked for its page; one that cannot be made is no reason to fail.
write_manual() {
  page="$DESTDIR$MANDIR/man1/stackwatch.1"
  mkdir -p "$(dirname "$page")"
  "$DESTDIR$PREFIX/bin/python" -c 'from stackwatch.cli.app import main; main()' manual \
    >"$page.new" 2>/dev/null || true
  if [ -s "$page.new" ]; then mv -f "$page.new" "$page"; else rm -f "$page.new"; fi
}

# However it ends: nothing half built stays, and a service that was stopped runs again.
finish() {
  code=$?
  trap - EXIT
  [ -e "$DESTDIR$PREFIX" ] || [ ! -e "$DESTDIR$PREFIX.old" ] || mv "$DESTDIR$PREFIX.old" "$DESTDIR$PREFIX"
  rm -rf "$new"
  [ -z "$was_active" ] || systemctl start "$UNIT" || true
  exit "$code"
}

install() {
  check_root install
  check_prefix
  check_python
  new="$DESTDIR$PREFIX.new"
  was_active=
  mkdir -p "$(dirname "$new")"
  trap finish EXIT
  trap 'exit 129' HUP
  trap 'exit 130' INT
  trap 'exit 143' TERM
  build "$new"

  if is_active; then
    was_active=yes
    say "Stopping the service ..."
    systemctl stop "$UNIT"
  fi
  rm -rf "$DESTDIR$PREFIX.old"
  [ ! -e "$DESTDIR$PREFIX" ] || mv "$DESTDIR$PREFIX" "$DESTDIR$PREFIX.old"
  mv "$new" "$DESTDIR$PREFIX"
  rm -rf "$DESTDIR$PREFIX.old"

  copy 644 "$SOURCE/systemd/$UNIT" "$DESTDIR$UNITDIR/$UNIT"
  copy 644 "$SOURCE/systemd/sysusers.d/stackwatch.conf" "$DESTDIR$SYSUSERSDIR/stackwatch.conf"
  copy 644 "$SOURCE/systemd/tmpfiles.d/stackwatch.conf" "$DESTDIR$TMPFILESDIR/stackwatch.conf"
  mkdir -p "$DESTDIR$CONFDIR" "$DESTDIR$BINDIR"
  if is_live; then
    systemd-sysusers "$SYSUSERSDIR/stackwatch.conf"
    systemd-tmpfiles --create "$TMPFILESDIR/stackwatch.conf"
    systemctl daemon-reload
  fi
  copy 644 "$SOURCE/config.example.toml" "$DESTDIR$CONFDIR/config.example.toml"
  copy 644 "$SOURCE/systemd/drop-in.conf.example" "$DESTDIR$CONFDIR/drop-in.conf.example"
  ln -sfn "$PREFIX/bin/stackwatch" "$DESTDIR$BINDIR/stackwatch"
  write_manual

  if [ -n "$was_active" ]; then
    say "Starting the service again ..."
    was_active=
    systemctl start "$UNIT"
  fi
  say "Installed stackwatch in $DESTDIR$PREFIX."
  if [ -n "$DESTDIR" ]; then
    return
  elif [ ! -e "$CONFDIR/config.toml" ]; then
    say "Next:"
    say "  1. settings      cp $CONFDIR/config.example.toml $CONFDIR/config.toml, then edit it"
    say "  2. targets       systemctl edit stackwatch   ($CONFDIR/drop-in.conf.example shows what for)"
    say "  3. check         stackwatch config check"
    say "  4. start         systemctl enable --now stackwatch"
    say "  5. try           stackwatch selftest"
  else
    say "Settings and ledger are as they were."
  fi
}

uninstall() {
  check_root uninstall
  check_prefix
  if is_live; then
    systemctl disable --now "$UNIT" 2>/dev/null || true
  fi
  rm -f "$DESTDIR$UNITDIR/$UNIT" "$DESTDIR$SYSUSERSDIR/stackwatch.conf" \
    "$DESTDIR$TMPFILESDIR/stackwatch.conf" "$DESTDIR$CONFDIR/config.example.toml" \
    "$DESTDIR$CONFDIR/drop-in.conf.example" "$DESTDIR$MANDIR/man1/stackwatch.1"
  [ "$(readlink "$DESTDIR$BINDIR/stackwatch" 2>/dev/null)" != "$PREFIX/bin/stackwatch" ] ||
    rm -f "$DESTDIR$BINDIR/stackwatch"
  rm -rf "$DESTDIR$PREFIX" "$DESTDIR$PREFIX.new" "$DESTDIR$PREFIX.old"
  rmdir "$DESTDIR$CONFDIR" 2>/dev/null || true
  if is_live; then
    systemctl daemon-reload
    systemctl reset-failed "$UNIT" 2>/dev/null || true
  fi
  say "Removed stackwatch from $DESTDIR$PREFIX. Kept, because only you can make them again:"
  for kept in "$STATE" /var/log/stackwatch "$CONFDIR" "$UNITDIR/$UNIT.d" /etc/credstore/webknossos-token; do
    [ ! -e "$DESTDIR$kept" ] || say "  $DESTDIR$kept"
  done
  say "and the user stackwatch, whose files the datasets are. To remove these too:"
  say "  rm -r $STATE $CONFDIR; userdel stackwatch"
}

case "${1:-}" in
  install | uninstall) check_paths; "$1" ;;
  *) fail "say install or uninstall" ;;
esac
