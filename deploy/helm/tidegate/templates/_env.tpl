{{- /* The variables of a service. Secrets come as files: what is in the environment ends in dumps and listings. */ -}}
{{- define "tidegate.env" -}}
{{- $root := .root -}}
{{- $v := $root.Values -}}
{{- $own := list "listen" "shutdown_grace" -}}
- name: TIDEGATE__LISTEN
  value: {{ printf "%s:%d" $v.listenAddress (int .service.port) | quote }}
- name: TIDEGATE__SHUTDOWN_GRACE
  value: {{ printf "%ds" (int $v.shutdown.graceSeconds) }}
{{- if eq $v.log.format "json" }}
- name: TIDEGATE_LOG_FORMAT
  value: json
{{- end }}
{{- with $v.log.filter }}
- name: TIDEGATE_LOG
  value: {{ . | quote }}
{{- end }}
{{- with $v.tracing.endpoint }}
- name: OTEL_EXPORTER_OTLP_ENDPOINT
  value: {{ . | quote }}
{{- end }}
{{- with $v.tracing.sampler }}
- name: OTEL_TRACES_SAMPLER
  value: {{ . | quote }}
{{- end }}
{{- with $v.tracing.samplerArg }}
- name: OTEL_TRACES_SAMPLER_ARG
  value: {{ . | quote }}
{{- end }}
{{- if has .service.name (list "api" "scheduler" "log-ingest") }}
{{- $own = append $own "postgres.url" }}
- name: TIDEGATE__POSTGRES__URL
  value: file:/run/secrets/tidegate/postgres/url
{{- end }}
{{- if has .service.name (list "api" "scheduler") }}
{{- $own = concat $own (list "delivery_address" "object_storage.url" "object_storage.endpoint" "object_storage.region" "object_storage.allow_http" "object_storage.access_key_id" "object_storage.secret_access_key") }}
- name: TIDEGATE__DELIVERY_ADDRESS
  value: {{ include "tidegate.url" (dict "root" $root "name" "task-queue") }}
- name: TIDEGATE__OBJECT_STORAGE__URL
  value: {{ required "objectStorage.url is empty: say where payloads above 64 KiB are kept, such as s3://bucket/prefix" $v.objectStorage.url | quote }}
{{- with $v.objectStorage.endpoint }}
- name: TIDEGATE__OBJECT_STORAGE__ENDPOINT
  value: {{ . | quote }}
{{- end }}
{{- with $v.objectStorage.region }}
- name: TIDEGATE__OBJECT_STORAGE__REGION
  value: {{ . | quote }}
{{- end }}
{{- if $v.objectStorage.allowHttp }}
- name: TIDEGATE__OBJECT_STORAGE__ALLOW_HTTP
  value: "true"
{{- end }}
{{- with $v.objectStorage.credentials }}
{{- if .secretName }}
- name: TIDEGATE__OBJECT_STORAGE__ACCESS_KEY_ID
  valueFrom: {secretKeyRef: {name: {{ .secretName }}, key: {{ .accessKeyIdKey }}}}
- name: TIDEGATE__OBJECT_STORAGE__SECRET_ACCESS_KEY
  value: file:/run/secrets/tidegate/object-storage/secret-access-key
{{- end }}
{{- end }}
{{- end }}
{{- if eq .service.name "api" }}
{{- $own = concat $own (list "scheduler_address" "endpoints.task_queue" "endpoints.log_ingest") }}
- name: TIDEGATE__SCHEDULER_ADDRESS
  value: {{ include "tidegate.url" (dict "root" $root "name" "scheduler") }}
{{- $outer := include "tidegate.outerUrl" $root }}
{{- /* The SDKs of this version speak no TLS: told such an address, the workers of this cluster would be cut off. */}}
{{- $outer = ternary $outer "" (hasPrefix "http://" $outer) }}
- name: TIDEGATE__ENDPOINTS__TASK_QUEUE
  value: {{ $v.advertise.taskQueue | default $outer | default (include "tidegate.url" (dict "root" $root "name" "task-queue")) | quote }}
- name: TIDEGATE__ENDPOINTS__LOG_INGEST
  value: {{ $v.advertise.logIngest | default $outer | default (include "tidegate.url" (dict "root" $root "name" "log-ingest")) | quote }}
{{- end }}
{{- if eq .service.name "task-queue" }}
{{- $own = concat $own (list "engine_address" "redis.url" "redis.prefix") }}
- name: TIDEGATE__ENGINE_ADDRESS
  value: {{ include "tidegate.url" (dict "root" $root "name" "api") }}
- name: TIDEGATE__REDIS__URL
  value: file:/run/secrets/tidegate/redis/url
- name: TIDEGATE__REDIS__PREFIX
  value: {{ $v.redis.prefix | quote }}
{{- end }}
{{- include "tidegate.configEnv" (dict "config" .own.config "at" "" "own" $own "values" .service.values) }}
{{- with .own.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "tidegate.volumeMounts" -}}
{{- $v := .root.Values -}}
{{- if eq .service.name "task-queue" -}}
- {name: redis, mountPath: /run/secrets/tidegate/redis, readOnly: true}
{{- else -}}
- {name: postgres, mountPath: /run/secrets/tidegate/postgres, readOnly: true}
{{- end }}
{{- if has .service.name (list "api" "scheduler") }}
{{- if $v.objectStorage.credentials.secretName }}
- {name: object-storage, mountPath: /run/secrets/tidegate/object-storage, readOnly: true}
{{- end }}
{{- if hasPrefix "file:" $v.objectStorage.url }}
- {name: payloads, mountPath: {{ $v.objectStorage.volume.mountPath }}}
{{- end }}
{{- end }}
{{- with .own.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "tidegate.volumes" -}}
{{- $v := .root.Values -}}
{{- if eq .service.name "task-queue" -}}
- name: redis
  secret: {secretName: {{ $v.redis.secret.name }}, defaultMode: 0440, items: [{key: {{ $v.redis.secret.key }}, path: url}]}
{{- else -}}
- name: postgres
  secret: {secretName: {{ $v.postgres.secret.name }}, defaultMode: 0440, items: [{key: {{ $v.postgres.secret.key }}, path: url}]}
{{- end }}
{{- if has .service.name (list "api" "scheduler") }}
{{- with $v.objectStorage.credentials }}
{{- if .secretName }}
- name: object-storage
  secret: {secretName: {{ .secretName }}, defaultMode: 0440, items: [{key: {{ .secretAccessKeyKey }}, path: secret-access-key}]}
{{- end }}
{{- end }}
{{- if hasPrefix "file:" $v.objectStorage.url }}
{{- if not (hasPrefix (printf "file://%s/" $v.objectStorage.volume.mountPath) (printf "%s/" $v.objectStorage.url)) }}
{{- fail (printf "objectStorage.url is %s, which is not in the volume at objectStorage.volume.mountPath, %s: payloads would be lost with the pod" $v.objectStorage.url $v.objectStorage.volume.mountPath) }}
{{- end }}
- name: payloads
  persistentVolumeClaim: {claimName: {{ required "objectStorage.volume.claimName is empty: a file:// URL needs a claim that api and scheduler share (ReadWriteMany)" $v.objectStorage.volume.claimName }}}
{{- end }}
{{- end }}
{{- with .own.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}
