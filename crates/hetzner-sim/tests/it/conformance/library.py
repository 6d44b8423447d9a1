"""PyPI's hcloud against the address in HCLOUD_ENDPOINT."""

import os

from hcloud import APIException, Client
from hcloud.images import Image
from hcloud.locations import Location
from hcloud.server_types import ServerType

c = Client(
    token=os.environ["HCLOUD_TOKEN"], api_endpoint=os.environ["HCLOUD_ENDPOINT"], poll_interval=0.05, timeout=5
)
r = c.servers.create(
    name="p1", server_type=ServerType(name="cpx12"), image=Image(name="debian-13"), location=Location(name="fsn1"),
    labels={"rgrid": "1"}, user_data="#cloud-config\n",
)
for a in [r.action, *r.next_actions]:
    a.wait_until_finished()
s = c.servers.get_by_name("p1")
assert s.status == "running" and s.location.name == "fsn1" and s.public_net.ipv6, s.status
try:
    c.servers.create(name="p1", server_type=ServerType(name="cpx12"), image=Image(name="debian-13"))
    raise SystemExit("a name was given twice")
except APIException as e:
    assert e.code == "uniqueness_error" and e.correlation_id, e
assert [x.id for x in c.servers.get_all(label_selector="rgrid=1,!gone")] == [s.id]
others = int(os.environ["OTHERS"])
assert len(c.servers.get_all()) == others + 1, len(c.servers.get_all())
assert all(place.available is not None for t in c.server_types.get_all() for place in t.locations)
s.delete().wait_until_finished()
assert c.servers.get_by_name("p1") is None
print("content")
