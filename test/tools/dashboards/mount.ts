/** The dashboard of one mount, or of several added up. */
import type { Dashboard } from '@grafana/grafana-foundation-sdk/dashboard';
import { dashboard, labelVariable, MOUNT_UID } from './common.ts';
import { latency, now, slow, traffic } from './mount-requests.ts';
import { data, lanes, resources, runtime } from './mount-resources.ts';
import { of } from './select.ts';

export function mountDashboard(): Dashboard {
  return dashboard({
    title: 'sluice: a mount',
    uid: MOUNT_UID,
    description:
      'What a sluice mount does, how fast, and what may be used up. See docs/metrics.md.',
    variables: [labelVariable('op', 'Operation', of('sluice_request_duration_seconds_count'))],
    rows: [now, traffic, latency, slow, lanes, data, resources, runtime],
  });
}
