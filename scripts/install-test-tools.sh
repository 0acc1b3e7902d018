#!/usr/bin/env bash
# Makes sure that the tools of the tests that npm cannot install are there: the files of a RabbitMQ
# server, which the tests start for themselves, openssl, unzip, promtool, age, Java with Bouncy Castle,
# strace, faketime, slowhttptest, PostgreSQL with pg_dump, rsync and systemd-analyze. No service is started. Says nothing when there is nothing to do.
set -eu

has_rabbitmq() {
  local script
  for script in /usr/lib/rabbitmq/bin/rabbitmq-server \
    /usr/lib/rabbitmq/lib/*/sbin/rabbitmq-server \
    /opt/homebrew/opt/rabbitmq/sbin/rabbitmq-server \
    /usr/local/opt/rabbitmq/sbin/rabbitmq-server; do
    if [ -e "$script" ]; then return 0; fi
  done
  return 1
}

has_promtool() {
  command -v promtool >/dev/null 2>&1
}

has_age() {
  command -v age >/dev/null 2>&1
}

has_strace() {
  command -v strace >/dev/null 2>&1
}

has_faketime() {
  command -v faketime >/dev/null 2>&1
}

has_slowhttptest() {
  command -v slowhttptest >/dev/null 2>&1
}

# Linux only: elsewhere their tests are skipped and say so.
has_fault_tools() {
  [ "$(uname -s)" != Linux ] || { has_strace && has_faketime && has_slowhttptest; }
}

# A backup takes a pg_dump and a server of one version; its commands use rsync.
has_postgresql() {
  local program
  for program in /usr/lib/postgresql/*/bin/pg_dump; do
    if [ -x "$program" ] && [ -x "${program%pg_dump}postgres" ]; then return 0; fi
  done
  return 1
}

has_rsync() {
  command -v rsync >/dev/null 2>&1
}

has_systemd() {
  command -v systemd-analyze >/dev/null 2>&1
}

has_operator_tools() {
  [ "$(uname -s)" != Linux ] || { has_postgresql && has_rsync && has_systemd; }
}

has_openssl() {
  command -v openssl >/dev/null 2>&1
}

has_unzip() {
  command -v unzip >/dev/null 2>&1
}

# The tests run a source file, which takes the compiler.
has_java() {
  java --describe-module jdk.compiler >/dev/null 2>&1
}

has_bouncy_castle() {
  local jar
  for jar in bcprov bcutil bcpkix; do
    if ! [ -e "/usr/share/java/$jar.jar" ]; then return 1; fi
  done
}

if has_rabbitmq && has_openssl && has_unzip && has_promtool && has_age && has_java \
  && has_bouncy_castle && has_fault_tools && has_operator_tools; then
  exit 0
fi

root=()
can_install=yes
if ! command -v apt-get >/dev/null 2>&1; then
  can_install=no
elif [ "$(id -u)" -ne 0 ]; then
  root=(sudo -n)
  sudo -n true 2>/dev/null || can_install=no
fi

# Asked by Debian's packages before they start a service: 101 means no.
policy=/usr/sbin/policy-rc.d
own_policy=no

remove_policy() {
  if [ "$own_policy" = yes ]; then
    "${root[@]}" rm -f "$policy"
    own_policy=no
  fi
}

forbid_services() {
  if [ -e "$policy" ]; then return 0; fi
  own_policy=yes
  printf '#!/bin/sh\nexit 101\n' | "${root[@]}" tee "$policy" >/dev/null
  "${root[@]}" chmod 755 "$policy"
}

install_package() {
  "${root[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get install -y -q --no-install-recommends "$1"
}

if [ "$can_install" = yes ]; then
  trap remove_policy EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM
  forbid_services
  # Old lists may do as well.
  "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get update -q || true
  has_rabbitmq || install_package rabbitmq-server || true
  has_openssl || install_package openssl || true
  has_unzip || install_package unzip || true
  has_promtool || install_package prometheus || true
  has_age || install_package age || true
  has_strace || install_package strace || true
  has_faketime || install_package faketime || true
  has_slowhttptest || install_package slowhttptest || true
  has_postgresql || install_package postgresql || true
  has_rsync || install_package rsync || true
  has_systemd || install_package systemd || true
  has_java || install_package default-jdk-headless || true
  has_bouncy_castle || install_package libbcpkix-java || true
fi

if ! has_promtool; then
  echo 'warning: promtool is missing, so the metrics are not checked with it. It is part of the' >&2
  echo '  Debian package prometheus, and of https://prometheus.io/download/.' >&2
fi

if ! has_age; then
  echo 'warning: age is missing, so encrypted content is not checked with it. It is the Debian' >&2
  echo '  package age, and the Homebrew formula age.' >&2
fi

if ! has_java || ! has_bouncy_castle; then
  echo 'warning: Java or Bouncy Castle is missing, so evidence records are not checked with them.' >&2
  echo '  They are the Debian packages default-jdk-headless (17 or later) and libbcpkix-java.' >&2
fi

if ! has_fault_tools; then
  echo 'warning: strace, faketime or slowhttptest is missing, so the faults that take them are not' >&2
  echo '  tried. They are Debian packages of these names.' >&2
fi

if ! has_operator_tools; then
  echo 'warning: PostgreSQL of the system, rsync or systemd-analyze is missing, so backup, restore and' >&2
  echo '  the systemd unit are not tried. They are in the Debian packages postgresql, rsync and systemd.' >&2
fi

missing=no

for tool in openssl unzip; do
  if ! "has_$tool"; then
    echo "error: the tests need $tool. It is the Debian package and the Homebrew formula $tool." >&2
    missing=yes
  fi
done

if ! has_rabbitmq; then
  cat >&2 <<'END'
error: the tests need the files of a RabbitMQ server, 3.10 or later; it need not be running.
  Debian, Ubuntu:  sudo apt-get install --no-install-recommends rabbitmq-server
                   (then, if you do not want the service: sudo systemctl disable --now rabbitmq-server)
  macOS:           brew install rabbitmq
END
  missing=yes
fi

[ "$missing" = no ]
