"""The gateway's pure core: who may do what, what they see, and how a stream is told.

- `access`    permissions and the visibility of KPIs, from the policies in force
- `masking`   the one function through which every output goes
- `sealing`   opaque tokens: pages (encrypted) and cursors (signed)
- `delivery`  one subscription: filtering, sequence numbers, conflation
- `evidence`  what a decision's maker saw, as canonical JSON with its hash
- `contracts` what a changed source breaks, in words
- `provenance` the events of a window
"""
