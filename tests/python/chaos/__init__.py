"""Many callers, a Kora that fails in every way, and a gateway that dies, stops and reads wrong clocks meanwhile.

`tickets` says what is to be asked and how Kora meets it, `kora` plays Kora and keeps the record that the verdict
stands on, `deliveries` are its webhooks, `callers` ask through stock gRPC clients, `machine` is where the gateway
lives and what befalls it, and `verdict` compares. Everything follows from one seed, but for the moments at which
threads meet.
"""
