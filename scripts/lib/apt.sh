# shellcheck shell=bash
# Which package archive this machine uses, for scripts that need more of it.

# shellcheck disable=SC2034 # for who includes this
keyring=/usr/share/keyrings/debian-archive-keyring.gpg

# "BASE SUITE" of each binary repository that this machine uses; apt reads its
# own configuration, whatever the format, even before the first update.
# $1: a folder for what apt wants to write
configured_repositories() {
	mkdir -p "$1/none/partial"
	apt-get -o Dir::State::lists="$1/none" --print-uris update \
		| sed -n "s|^'\(.*\)/dists/\(.*\)/InRelease'.*|\1 \2|p"
}
