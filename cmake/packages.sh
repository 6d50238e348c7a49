# SPDX-License-Identifier: Apache-2.0
# Sourced by the scripts that set a machine up.

# need_packages NAME...: installs the Debian packages that are missing, once; says which. Works as root and with sudo; where there is no
# apt it names what is missing and stops.
need_packages() {
  local missing=() name
  if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
    need_programs
    return
  fi
  for name in "$@"; do
    dpkg-query -W -f='${db:Status-Abbrev}' "$name" 2>/dev/null | grep -q '^ii' || missing+=("$name")
  done
  [[ ${#missing[@]} -eq 0 ]] && return
  local as_root=()
  if [[ $(id -u) -ne 0 ]]; then
    if ! command -v sudo >/dev/null; then
      echo "missing packages: ${missing[*]}; install them as root (apt-get install ${missing[*]}) and run this again" >&2
      exit 1
    fi
    as_root=(sudo)
  fi
  echo "installing: ${missing[*]}"
  export DEBIAN_FRONTEND=noninteractive
  # The package lists may be absent or old; they are fetched once, before the first attempt.
  "${as_root[@]}" apt-get update -qq
  "${as_root[@]}" apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}

# Without apt: what a build needs, by looking for it.
need_programs() {
  local missing=() program header
  for program in cmake ninja g++ python3; do command -v "$program" >/dev/null || missing+=("$program"); done
  for header in nlohmann/json.hpp eigen3/Eigen/Core CLI/CLI.hpp xxhash.h doctest/doctest.h; do
    [[ -e /usr/include/$header || -e /usr/local/include/$header ]] || missing+=("$header")
  done
  [[ ${#missing[@]} -eq 0 ]] && return
  echo "this system has no apt; install these with its own package manager and run this again: ${missing[*]}" >&2
  exit 1
}
