"""A chaos run: many concurrent callers and a faulty Kora, while the gateway is killed, drained and given wrong clocks.

`tickets` generates the requests and the faults that each meets, `kora` is the double of Kora and keeps the record
that the verdict is based on, `deliveries` sends its webhooks, `callers` are stock gRPC clients, `machine` runs the
gateway and disrupts it, and `verdict` compares answers, records and events with the double's record. One seed
determines all of it except thread timing.
"""
