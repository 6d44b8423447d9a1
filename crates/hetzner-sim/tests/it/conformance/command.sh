# The provider's own command, as Debian has it, against the address in HCLOUD_ENDPOINT. Every line must succeed, but those
# that are told to fail. Run in an empty folder; OTHERS is how many servers there are besides.
set -euo pipefail

fails() { # ERROR-CODE COMMAND...: ends with code 1 and says this
    local said code=0
    said=$("${@:2}" 2>&1) || code=$?
    case "$said" in *"$1"*) ;; *) echo "not the error $1 of: ${*:2}: $said"; exit 1 ;; esac
    test "$code" = 1 || { echo "ended with $code: ${*:2}"; exit 1; }
}

: > empty.toml
hcloud location list
hcloud server-type list
hcloud server-type describe cpx12
hcloud image list
ssh-keygen -q -t ed25519 -N '' -f ./k
hcloud ssh-key create --name rg --public-key-from-file k.pub
hcloud ssh-key list
test "$(ssh-keygen -E md5 -lf k.pub | cut -d' ' -f2)" = "MD5:$(hcloud ssh-key list -o noheader -o columns=fingerprint)"
printf '#cloud-config\nruncmd: [true]\n' > ud.yml
hcloud server create --name w1 --type cpx12 --image debian-13 --location fsn1 --ssh-key rg --label rgrid=1 \
    --user-data-from-file ud.yml
test "$(hcloud server list -l rgrid=1 -o noheader -o columns=name,status | tr -s ' ')" = "w1 running"
test -z "$(hcloud server list -l rgrid=2 -o noheader)"
hcloud server list -l rgrid=1 -o columns=id,name,status,ipv4,ipv6
test "$(hcloud server list -o noheader | wc -l)" = $((OTHERS + 1))
hcloud server list -o json | python3 -m json.tool > /dev/null
fails uniqueness_error hcloud server create --name w1 --type cpx12 --image debian-13
hcloud server create --name w2 --type cpx12 --image debian-13 --without-ipv4 --start-after-create=false
hcloud server describe w2
test "$(hcloud server list -o noheader -o columns=name,status,ipv4 | grep w2 | tr -s ' ')" = "w2 off -"
hcloud server add-label w1 a=b
hcloud server shutdown w1
hcloud server poweroff w1
hcloud server poweron w1
hcloud server reset w1
hcloud server enable-protection w1 delete
fails protected hcloud server delete w1
hcloud server disable-protection w1 delete
hcloud server delete w1
hcloud server delete w2
fails "not found" hcloud server describe w1
# This version of it asks for one page of addresses only.
test "$(hcloud primary-ip list -o noheader | wc -l)" = $((OTHERS * 2 < 50 ? OTHERS * 2 : 50))
fails deprecated_api_endpoint hcloud datacenter list
HCLOUD_TOKEN=bad fails unauthorized hcloud server list
HCLOUD_DEBUG=1 hcloud server list 2>&1 | grep -i ratelimit
echo content
