-- A provider took an order: neither the type at this location is barred, nor the provider.
with cell as (
    delete from order_refusals where provider = $1 and machine_type = $2 and location = $3
)
delete from order_pauses where provider = $1
