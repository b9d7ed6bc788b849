// Package observability has no code: beside it lie a dashboard for Grafana
// (dashboard.json), alert rules for Prometheus (alerts.yaml) and examples of when
// each of them fires (alerts_test.yaml). docs/observability.md says how to use
// them; the tests here check them against the program and a real Prometheus.
package observability
