{{- define "tidegate.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride -}}
{{- else if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- /* The services: what the chart calls each, its key in the values, and its port, which is the image's default. */ -}}
{{- define "tidegate.services" -}}
- {name: api, values: api, port: 4400}
- {name: task-queue, values: taskQueue, port: 4401}
- {name: scheduler, values: scheduler, port: 4402}
- {name: log-ingest, values: logIngest, port: 4403}
{{- end -}}

{{- /* Public gRPC services, and who serves them. What is not here is not reached from outside. */ -}}
{{- define "tidegate.public" -}}
api:
  - grpc.health.v1.Health
  - grpc.reflection.v1.ServerReflection
  - grpc.reflection.v1alpha.ServerReflection
  - tidegate.v1.ArtifactService
  - tidegate.v1.AutomationService
  - tidegate.v1.BulkOperationService
  - tidegate.v1.ConcurrencyService
  - tidegate.v1.DeploymentService
  - tidegate.v1.PayloadService
  - tidegate.v1.QueueService
  - tidegate.v1.RunService
  - tidegate.v1.ScheduleService
  - tidegate.v1.SessionService
  - tidegate.v1.SystemService
  - tidegate.v1.VariableService
  - tidegate.v1.WorkPoolService
task-queue:
  - tidegate.v1.WorkerService
log-ingest:
  - tidegate.v1.LogService
{{- end -}}

{{- define "tidegate.selector" -}}
app.kubernetes.io/name: {{ .root.Chart.Name }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{- define "tidegate.labels" -}}
{{ include "tidegate.selector" . }}
app.kubernetes.io/version: {{ .root.Values.image.tag | default .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
app.kubernetes.io/part-of: tidegate
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
{{- end -}}

{{- define "tidegate.serviceAccount" -}}
{{- .Values.serviceAccount.name | default (ternary (include "tidegate.fullname" .) "default" .Values.serviceAccount.create) -}}
{{- end -}}

{{- define "tidegate.image" -}}
{{- $registry := required "image.registry is empty: say where you pushed the images of deploy/Dockerfile, such as registry.example.com/platform" .root.Values.image.registry -}}
{{- printf "%s/%s:%s" (trimSuffix "/" $registry) .image (.root.Values.image.tag | default .root.Chart.AppVersion) -}}
{{- end -}}

{{- /* Where a service is reached within the cluster. */ -}}
{{- define "tidegate.url" -}}
{{- $root := .root -}}
{{- range include "tidegate.services" . | fromYamlArray -}}
{{- if eq .name $.name -}}
{{- printf "http://%s-%s.%s:%d" (include "tidegate.fullname" $root) .name $root.Release.Namespace (int .port) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- /* Where everything public is reached from outside. Empty: nowhere. */ -}}
{{- define "tidegate.outerUrl" -}}
{{- if .Values.ingress.enabled -}}
{{- $host := required "ingress.host is empty: clients have to know a name, such as tidegate.example.com" .Values.ingress.host -}}
{{- ternary "https" "http" (ne .Values.ingress.tlsSecretName "") }}://{{ $host }}:{{ ternary "443" "80" (ne .Values.ingress.tlsSecretName "") }}
{{- else if .Values.gateway.enabled -}}
{{- $host := required "gateway.host is empty: clients have to know a name, such as tidegate.example.com" .Values.gateway.host -}}
{{- ternary "https" "http" .Values.gateway.tls }}://{{ $host }}:{{ int .Values.gateway.port }}
{{- end -}}
{{- end -}}

{{- define "tidegate.terminationGracePeriodSeconds" -}}
{{- add .Values.shutdown.announceSeconds .Values.shutdown.graceSeconds 10 -}}
{{- end -}}

{{- /* Keys of a configuration as variables: {engine: {lanes: 2}} becomes TIDEGATE__ENGINE__LANES. Lists are written as the
       programs read them from the environment: ["a","b"]. */ -}}
{{- define "tidegate.configEnv" -}}
{{- $own := .own -}}
{{- $at := .at -}}
{{- $lists := list "scheduler.webhooks.hosts" -}}
{{- range $key, $value := .config -}}
{{- $path := ternary $key (printf "%s.%s" $at $key) (eq $at "") -}}
{{- if kindIs "map" $value -}}
{{ include "tidegate.configEnv" (dict "config" $value "at" $path "own" $own "values" $.values) }}
{{- else -}}
{{- if has $path $own -}}
{{- fail (printf "%s.config.%s: the chart sets this itself, from other values; leave it out" $.values $path) -}}
{{- end -}}
{{- $isList := kindIs "slice" $value -}}
{{- if and $isList (not (has (printf "%s.%s" $.values $path) $lists)) -}}
{{- fail (printf "%s.config.%s is a list: no service has such a key" $.values $path) -}}
{{- end }}
- name: TIDEGATE__{{ $path | upper | replace "." "__" }}
  value: {{ if $isList }}{{ toJson $value | quote }}{{ else if kindIs "float64" $value }}{{ ternary (printf "%d" (int64 $value)) (toString $value) (eq $value (float64 (int64 $value))) | quote }}{{ else }}{{ $value | toString | quote }}{{ end }}
{{- end -}}
{{- end -}}
{{- end -}}
