"""Files that must load: the shapes of spec section 15, legacy forms, and one that uses every section."""

GATEWAY = """
version: v0.4.0
listeners:
  - {type: model, name: llm, port: 12000}
model_providers:
  - {model: openai/gpt-4o, access_key: $OPENAI_API_KEY, default: true}
"""

LEGACY_OBJECT = """
version: 0.1-beta
listeners:
  ingress_traffic: {address: 0.0.0.0, port: 10000, message_format: openai, timeout: 5s}
  egress_traffic: {port: 12000, message_format: openai}
llm_providers:
  - {name: gpt, access_key: $OPENAI_API_KEY, model: openai/gpt-4o, default: true}
endpoints:
  api_server: {endpoint: "127.0.0.1:80", connect_timeout: 0.005s}
system_prompt: You are helpful.
prompt_guards:
  input_guards: {jailbreak: {on_exception: {message: No.}}}
prompt_targets:
  - name: weather
    description: the weather
    parameters:
      - {name: city, description: a city, type: str, required: true, in_path: true}
      - {name: days, description: how many, type: int, default: 3, enum: [1, 3, 7]}
      - {name: tags, description: tags, type: list, items: {type: string}}
    endpoint: {name: api_server, path: "/weather/{city}", http_method: POST, http_headers: {X-Id: "1"}}
tracing: {random_sampling: 100}
"""

AGENTS = """
version: v0.3.0
agents:
  - {id: flights, url: "http://localhost:10510"}
  - {id: hotels, url: "http://localhost:10520"}
filters:
  - {id: rewrite, url: "http://localhost:10500", type: http, on_failure: allow, mode: buffered,
     forward_headers: [x-user]}
  - {id: guard, url: "http://localhost:10501", transport: streamable-http, tool: check}
listeners:
  - name: travel
    type: agent
    port: 8001
    router: plano_orchestrator_v1
    execution: parallel
    timeout: 2m
    agents:
      - {id: flights, description: flights, default: true, filter_chain: [rewrite, guard], on_failure: skip}
      - {id: hotels, description: hotels, input_filters: [guard]}
  - {name: llm, type: model, port: 12000, input_filters: [guard], output_filters: [rewrite]}
model_providers:
  - {model: openai/gpt-4o, access_key: $OPENAI_API_KEY}
"""

EVERYTHING = """
version: v0.4.0
listeners:
  - {name: llm, type: model, address: 127.0.0.1, port: 12000, timeout: 120s, max_retries: 2}
model_providers:
  - model: openai/gpt-4o
    name: main
    access_key: ${OPENAI_API_KEY}
    default: true
    headers: {X-Team: "a"}
    retry_policy:
      attempts: 3
      on_statuses: [429, 503]
      backoff: {base: 50ms, max: 2s}
      retry_after_max: 5s
      per_try_timeout: 20s
      first_token_timeout: 10s
      idle_timeout: 30
      fallback_models: [claude, custom/m]
  - {model: anthropic/claude-sonnet-4-5, passthrough_auth: true}
  - {model: custom/m, base_url: "http://127.0.0.1:9000/api/v2", provider_interface: openai, http_host: models.internal}
  - {model: groq/*, access_key: $OPENAI_API_KEY}
model_aliases:
  claude: {target: claude-sonnet-4-5}
  arch.claude.code.small.fast: {target: openai/gpt-4o}
routing_preferences:
  - name: code
    description: writes code
    models: [openai/gpt-4o, anthropic/claude-sonnet-4-5]
    selection_policy: {prefer: cheapest}
  - {name: chat, description: small talk, models: [custom/m], selection_policy: {prefer: fastest}}
model_metrics_sources:
  - {type: cost, provider: models.dev, refresh_interval: 3600, model_aliases: {gpt-4o: openai/gpt-4o}}
  - {type: latency, provider: prometheus, url: "http://prometheus:9090", query: avg(latency), refresh_interval: 60}
routing:
  session_ttl_seconds: 300
  session_max_entries: 5000
  session_cache: {type: redis, url: "redis://cache:6379", tenant_header: x-tenant}
  routing_budget: {max_switch_spend_pct: 25, cache_read_discount: 0.2}
  route_on_user_only: true
prompt_caching: {enabled: true, min_prefix_tokens: 2048}
overrides: {upstream_connect_timeout: 2s, upstream_tls_ca_path: /etc/ssl/own.pem, disable_signals: true}
ratelimits:
  - {model: gpt-4o, selector: {key: x-user}, limit: {tokens: 1000, unit: minute}}
  - {model: gpt-4o, selector: {key: x-user, value: bob}, limit: {tokens: 10, unit: day}}
tracing:
  random_sampling: 10
  opentracing_grpc_endpoint: http://localhost:4317
  span_attributes: {header_prefixes: [x-acme-], static: {env: test, shard: 3}}
  exporters: [{type: posthog, url: "https://posthog.example", api_key: $POSTHOG, capture_messages: true}]
state_storage: {type: postgres, connection_string: "postgresql://u:p@db/plano"}
prompt_guards: {input_guards: {jailbreak: {on_exception: {message: No.}, listeners: [llm]}}}
inference:
  address: tcp://inference:5570
  orchestrator: {engine: vllm, model: katanemo/Plano-Orchestrator-4B, engine_args: {max_model_len: 8192}}
  guard: {engine: embedded, threshold: 0.5, timeout: 50ms, on_failure: allow}
  function: {engine: upstream, model: gpt-4o}
mode: llm
"""

ALL = {"gateway": GATEWAY, "legacy object": LEGACY_OBJECT, "agents": AGENTS, "everything": EVERYTHING}
VARIABLES = {"OPENAI_API_KEY": "sk-1", "POSTHOG": "phc"}
