import type { components } from './client.gen.ts'
import { session } from './session.ts'

export type ProblemBody = components['schemas']['Problem']

/** What the gateway refused, in its own words (RFC 9457). */
export class Problem extends Error {
  constructor(
    readonly status: number,
    readonly title: string,
    readonly detail: string,
    readonly code: string,
    readonly errors: { location: string; message: string }[] = [],
  ) {
    super(detail || title)
  }
}

export type Query = Record<string, string | number | boolean | null | undefined>

export async function get<T>(path: string, query: Query = {}, signal?: AbortSignal): Promise<T> {
  const parameters = new URLSearchParams()
  for (const [name, value] of Object.entries(query)) {
    if (value !== null && value !== undefined && value !== '') parameters.set(name, String(value))
  }
  const text = parameters.toString()
  return call<T>('GET', text ? `${path}?${text}` : path, undefined, signal)
}

export async function post<T>(path: string, body?: unknown): Promise<T> {
  return call<T>('POST', path, body)
}

async function call<T>(method: string, path: string, body?: unknown, signal?: AbortSignal): Promise<T> {
  const sentToken = session.token
  const headers: Record<string, string> = { accept: 'application/json' }
  if (sentToken) headers['authorization'] = `Bearer ${sentToken}`
  if (body !== undefined) headers['content-type'] = 'application/json'
  // A write that is sent again after a lost answer must not be done twice.
  if (method === 'POST') headers['idempotency-key'] = crypto.randomUUID()
  let response: Response
  try {
    response = await fetch(path, {
      method,
      headers,
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      ...(signal ? { signal } : {}),
    })
  } catch (error) {
    if (signal?.aborted) throw error
    throw new Problem(0, 'The gateway cannot be reached', 'Check the connection, then try again.', 'unreachable')
  }
  if (response.ok) return (await response.json()) as T
  const problem = await problemOf(response)
  if (response.status === 401 && sentToken && sentToken === session.token) {
    session.end('Your session has ended. Sign in again to go on where you were.')
  }
  throw problem
}

async function problemOf(response: Response): Promise<Problem> {
  try {
    const body = (await response.json()) as ProblemBody
    return new Problem(response.status, body.title, body.detail ?? '', body.code, body.errors ?? [])
  } catch {
    return new Problem(response.status, `The gateway answered ${response.status}`, response.statusText, 'unknown')
  }
}
