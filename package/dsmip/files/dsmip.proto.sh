#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
#
# netifd's protocol "dsmip": the tunnel as an interface like any other.
#
#	config interface 'mobile'
#		option proto 'dsmip'
#
# What is wanted goes into a file; dsmipd, which has the device, tells netifd of
# addresses, routes and the delegated prefix when it has them, also after either
# was restarted. No route to the home agent is pinned to one uplink.

[ -x /usr/sbin/dsmipd ] || exit 0

[ -n "$INCLUDE_ONLY" ] || {
	. /lib/functions.sh
	. ../netifd-proto.sh
	init_proto "$@"
}

proto_dsmip_init_config() {
	# shellcheck disable=SC2034
	no_device=1
	# shellcheck disable=SC2034
	available=1
	# shellcheck disable=SC2034
	no_proto_task=1

	proto_config_add_boolean defaultroute
	proto_config_add_boolean delegate
	proto_config_add_int metric
}

write_wish() {
	mkdir -p "$1" || return 1
	{
		printf 'defaultroute %s\n' "${defaultroute:-1}"
		printf 'delegate %s\n' "${delegate:-1}"
		printf 'metric %s\n' "${metric:-0}"
	} >"$1/.$2" && mv "$1/.$2" "$1/$2"
}

proto_dsmip_setup() {
	local config="$1" defaultroute delegate metric
	local folder=/var/run/dsmip/netifd

	json_get_vars defaultroute delegate metric
	case "$metric" in
	*[!0-9]*)
		proto_notify_error "$config" INVALID_OPTION
		proto_block_restart "$config"
		return 1
		;;
	esac

	if ! write_wish "$folder" "$config"; then
		proto_notify_error "$config" NO_SPACE
		proto_setup_failed "$config"
		return 1
	fi
	# Without a daemon the interface waits: it looks here when it starts.
	[ ! -S /var/run/dsmip.sock ] || dsmip netifd >/dev/null 2>&1 || true
}

proto_dsmip_teardown() {
	rm -f "/var/run/dsmip/netifd/$1"
	[ ! -S /var/run/dsmip.sock ] || dsmip netifd >/dev/null 2>&1 || true
}

[ -n "$INCLUDE_ONLY" ] || add_protocol dsmip
