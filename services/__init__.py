"""The seven services of the mesh. They never import each other: they meet in the topics and events of `libs.common`.

- ingest      events in: push and pull, validated, deduplicated, published; dead letters and re-drive
- detector    events → windowed KPIs → signals
- quality     is the data right: rules, health, freshness, incidents
- archive     history in TimescaleDB, every revision, read by published views
- governance  who may see and keep what: audit, retention, receipts
- strategy    what it means and what was decided: catalog, objectives, escalation, playbooks, decisions
- gateway     the one public door: REST, WebSocket, SSE, sign-in, masks; serves the dashboard
"""
