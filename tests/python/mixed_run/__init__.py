"""Everything that happens to an embedded log in a working week, at once: webhooks of all sizes, streams that come and go,
trims, backups, a full disk, a stranger's flood.

`sender` is Kora, `readers` are the subscribers, and `watch` is the orchestrator.
"""
