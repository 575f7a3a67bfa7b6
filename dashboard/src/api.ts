/** The gateway's resources that the dashboard uses, typed by its OpenAPI document. */
import type { components } from './client.gen.ts'
import { get, post } from './http.ts'
import { session } from './session.ts'

type Schemas = components['schemas']
export type Me = Schemas['Me']
export type Kpi = Schemas['KpiSummary']
export type KpiDetail = Schemas['KpiDetail']
export type Latest = Schemas['LatestItem']
export type Observation = Schemas['ObservationItem']
export type ObservationPage = Schemas['ObservationPage']
export type Expectation = Schemas['ExpectationItem']
export type Signal = Schemas['SignalListed']
export type SignalItem = Schemas['SignalItem']
export type SignalDetail = Schemas['SignalDetail']
export type LoopStamps = Schemas['LoopStamps']
export type PlaybookRun = Schemas['PlaybookRun']
export type Escalation = Schemas['Escalation']
export type Decision = Schemas['DecisionItem']
export type DecisionDetail = Schemas['DecisionDetail']
export type DecisionExplained = Schemas['DecisionExplained']
export type DecisionBody = Schemas['DecisionBody']
export type Annotation = Schemas['AnnotationItem']
export type Objective = Schemas['ObjectiveItem']
export type KeyResult = Schemas['KeyResultItem']
export type Source = Schemas['SourceSummary']
export type SourceDetail = Schemas['SourceDetail']
export type Flow = Schemas['Flow']
export type PartitionShown = Schemas['PartitionShown']
export type Health = Schemas['Health']
export type Incident = Schemas['IncidentItem']
export type IncidentBody = Schemas['IncidentBody']
export type DeadLetter = Schemas['DeadLetterItem']
export type DeadLetterGroup = Schemas['DeadLetterGroup']
export type DeadLetterGroups = Schemas['DeadLetterGroups']
export type Redrive = Schemas['RedriveShown']
export type RedriveSummary = Schemas['RedriveSummary']
export type AuditItem = Schemas['AuditItem']
export type ChainVerdict = Schemas['ChainVerdict']
export type Explained = Schemas['ObservationExplained']
export type ExplainedEvents = Schemas['ExplainedEvents']
export type RawEvent = Schemas['RawEvent']
export type Severity = 'info' | 'warning' | 'critical'
export type Verdict = SignalItem['verdict']

const path = (...parts: string[]): string => `/v1/${parts.map(encodeURIComponent).join('/')}`

export async function signIn(username: string, password: string): Promise<void> {
  const token = await post<Schemas['Token']>(path('token'), { grant_type: 'password', username, password })
  session.token = token.access_token
  try {
    session.begin(token, await get<Me>(path('me')))
  } catch (error) {
    session.token = null
    throw error
  }
}

export const listKpis = (signal?: AbortSignal) => get<Schemas['KpiList']>(path('kpis'), {}, signal)

/** With as many series as the gateway lists: the picker searches among them. */
export const readKpi = (id: string, signal?: AbortSignal) =>
  get<KpiDetail>(path('kpis', id), { series_limit: 200, trend: 0 }, signal)

/** Its title and unit, without its series. */
export const nameKpi = (id: string, signal?: AbortSignal) =>
  get<KpiDetail>(path('kpis', id), { series_limit: 1, trend: 0 }, signal)

export interface ObservationQuery {
  series: string
  from?: string | null
  to?: string | null
  as_of?: string | null
  page_token?: string | null
  limit?: number
}

export const listObservations = (kpi: string, query: ObservationQuery, signal?: AbortSignal) =>
  get<ObservationPage>(path('kpis', kpi, 'observations'), { ...query }, signal)

export const listObjectives = (signal?: AbortSignal) => get<Schemas['ObjectiveList']>(path('objectives'), {}, signal)

export interface SignalQuery {
  kpi?: string | null
  state?: string | null
  verdict?: string | null
  page_token?: string | null
  limit?: number
}

export const listSignals = (query: SignalQuery, signal?: AbortSignal) =>
  get<Schemas['SignalPage']>(path('signals'), { ...query }, signal)

export const explainSignal = (id: string, asOf: string | null, signal?: AbortSignal) =>
  get<Schemas['SignalExplained']>(path('explain', 'signals', id), { as_of: asOf }, signal)

export const readSignal = (id: string, signal?: AbortSignal) => get<SignalDetail>(path('signals', id), {}, signal)

export const acknowledge = (id: string, note: string) =>
  post<Schemas['Outcome']>(path('signals', id, 'acknowledge'), { note })

export const tickStep = (run: string, step: string, done: boolean, note: string) =>
  post<Schemas['Outcome']>(path('playbook-runs', run, 'steps', step), { done, note })

export const decide = (body: DecisionBody) => post<Schemas['Outcome']>(path('decisions'), body)

export const listDecisions = (query: { signal?: string; kpi?: string | null; page_token?: string | null }, signal?: AbortSignal) =>
  get<Schemas['DecisionPage']>(path('decisions'), { ...query }, signal)

export const explainDecision = (id: string, signal?: AbortSignal) =>
  get<DecisionExplained>(path('explain', 'decisions', id), {}, signal)

export const markDecision = (id: string, step: 'dispatched' | 'executed') =>
  post<Schemas['Outcome']>(path('decisions', id, step), {})

export const listAnnotations = (kpi: string, signal?: AbortSignal) =>
  get<Schemas['AnnotationPage']>(path('annotations'), { kpi }, signal)

export const annotate = (body: Schemas['AnnotationBody']) => post<Schemas['Outcome']>(path('annotations'), body)

export const listSources = (signal?: AbortSignal) => get<Schemas['SourceList']>(path('sources'), {}, signal)

export const readSource = (id: string, signal?: AbortSignal) => get<SourceDetail>(path('sources', id), {}, signal)

export const readExamples = (id: string, signal?: AbortSignal) =>
  get<Schemas['SourceExamples']>(path('sources', id, 'examples'), {}, signal)

export const listIncidents = (query: { state?: string | null; source?: string | null; page_token?: string | null }, signal?: AbortSignal) =>
  get<Schemas['IncidentPage']>(path('incidents'), { ...query }, signal)

export const stepIncident = (id: string, body: IncidentBody) => post<Schemas['Outcome']>(path('incidents', id), body)

export const listDeadLetters = (query: { source?: string | null; cause?: string | null; page_token?: string | null }, signal?: AbortSignal) =>
  get<Schemas['DeadLetterPage']>(path('dead-letters'), { ...query }, signal)

export const groupDeadLetters = (signal?: AbortSignal) =>
  get<Schemas['DeadLetterGroups']>(path('dead-letters', 'groups'), {}, signal)

export const orderRedrive = (body: Pick<Schemas['RedriveBody'], 'source' | 'cause' | 'dry_run' | 'canary'>) =>
  post<Redrive>(path('redrives'), body)

export const listRedrives = (signal?: AbortSignal) => get<Schemas['RedriveList']>(path('redrives'), {}, signal)

export const readRedrive = (id: string, signal?: AbortSignal) => get<Redrive>(path('redrives', id), {}, signal)

export type RedriveCommand = 'go' | 'pause' | 'cancel' | 'undo'

export const commandRedrive = (id: string, command: RedriveCommand) =>
  post<Redrive>(path('redrives', id, command), {})

export interface AuditQuery {
  actor?: string | null
  action?: string | null
  resource?: string | null
  page_token?: string | null
}

export const listAudit = (query: AuditQuery, signal?: AbortSignal) =>
  get<Schemas['AuditPage']>(path('audit'), { ...query }, signal)

export const verifyAudit = (signal?: AbortSignal) => get<ChainVerdict>(path('audit', 'verify'), {}, signal)

/** What names one value: enough for a link that anybody with the right can open again. */
export interface ValueName {
  kpi: string
  series_key: string
  window_start: string
  revision?: number | null
}

export const explain = (name: ValueName, pageToken: string | null, asOf: string | null, signal?: AbortSignal) =>
  get<Explained>(
    // A KPI without dimensions has the empty key, which an address cannot hold.
    path('explain', 'observations', name.kpi, name.series_key || '-', name.window_start),
    { revision: name.revision, page_token: pageToken, as_of: asOf },
    signal,
  )
