#!/bin/sh
# Performs every step of docs/adding-an-engine.md in a copy of the checkout.
#
# A code block whose first line is a comment with a path is written to that
# path; a block marked `sh` is run. Builds go to CARGO_TARGET_DIR if it is set,
# so that what is built already is not built again.
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
trap 'exit 130' INT TERM

cd "$root"
git ls-files -z --cached --others --exclude-standard |
    tar --create --null --files-from=- --ignore-failed-read |
    tar --extract --directory="$copy"

awk '
    /^```/ && !inside {
        inside = 1; first = 1; kind = substr($0, 4); path = ""
        next
    }
    /^```/ {
        if (path != "") print "TRIREME_BLOCK_END"
        inside = 0
        next
    }
    !inside || kind == "" { next }
    first {
        first = 0
        if (kind != "sh" && $0 ~ /^(#|\/\/) [^ ]+$/) {
            path = $2
            print "mkdir -p \"$(dirname " path ")\""
            print "cat > " path " <<\"TRIREME_BLOCK_END\""
            next
        }
        if (kind != "sh") {
            print "a " kind " block names no file: " $0 > "/dev/stderr"
            failed = 1
            exit
        }
    }
    { print }
    END { exit failed }
' docs/adding-an-engine.md > "$copy/steps.sh"

cd "$copy"
sh -eux steps.sh
echo "the guide works"
